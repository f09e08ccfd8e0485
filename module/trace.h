/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints.  The cookie is the socket's, as `ss -e` shows it.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM sockbeat

#if !defined(_SOCKBEAT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _SOCKBEAT_TRACE_H

#include <linux/tracepoint.h>

#include "sockbeat.h"

DECLARE_EVENT_CLASS(sockbeat_peer,
	TP_PROTO(const struct sb_peer *peer),
	TP_ARGS(peer),
	TP_STRUCT__entry(
		__field(u32, session)
		__field(u64, handle)
		__field(u64, cookie)
		__field(u64, user_data)
	),
	TP_fast_assign(
		__entry->session = peer->session->id;
		__entry->handle = sb_peer_handle(peer);
		__entry->cookie = atomic64_read(&peer->sk_key->sk_cookie);
		__entry->user_data = peer->user_data;
	),
	TP_printk("session=%u handle=%#llx cookie=%llx user_data=%llu",
		  __entry->session, __entry->handle, __entry->cookie,
		  __entry->user_data)
);

/* A peer is tracked from now on. */
DEFINE_EVENT(sockbeat_peer, sockbeat_add,
	TP_PROTO(const struct sb_peer *peer),
	TP_ARGS(peer)
);

/* A peer's socket has come to its end. */
DEFINE_EVENT(sockbeat_peer, sockbeat_gone,
	TP_PROTO(const struct sb_peer *peer),
	TP_ARGS(peer)
);

/* A peer was not heard for its timeout. */
TRACE_EVENT(sockbeat_silent,
	TP_PROTO(const struct sb_peer *peer, u64 idle_ms),
	TP_ARGS(peer, idle_ms),
	TP_STRUCT__entry(
		__field(u32, session)
		__field(u64, handle)
		__field(u64, cookie)
		__field(u64, idle_ms)
	),
	TP_fast_assign(
		__entry->session = peer->session->id;
		__entry->handle = sb_peer_handle(peer);
		__entry->cookie = atomic64_read(&peer->sk_key->sk_cookie);
		__entry->idle_ms = idle_ms;
	),
	TP_printk("session=%u handle=%#llx cookie=%llx idle_ms=%llu",
		  __entry->session, __entry->handle, __entry->cookie,
		  __entry->idle_ms)
);

/* The kernel ends a silent peer's socket by itself. */
TRACE_EVENT(sockbeat_act,
	TP_PROTO(const struct sb_peer *peer, u32 end),
	TP_ARGS(peer, end),
	TP_STRUCT__entry(
		__field(u32, session)
		__field(u64, handle)
		__field(u64, cookie)
		__field(u32, end)
	),
	TP_fast_assign(
		__entry->session = peer->session->id;
		__entry->handle = sb_peer_handle(peer);
		__entry->cookie = atomic64_read(&peer->sk_key->sk_cookie);
		__entry->end = end;
	),
	TP_printk("session=%u handle=%#llx cookie=%llx end=%s",
		  __entry->session, __entry->handle, __entry->cookie,
		  __print_symbolic(__entry->end, { 1, "shutdown" }, { 2, "abort" }))
);

/* A slot goes into quarantine. */
TRACE_EVENT(sockbeat_recycle,
	TP_PROTO(const struct sb_peer *peer, u32 delay_ms),
	TP_ARGS(peer, delay_ms),
	TP_STRUCT__entry(
		__field(u32, session)
		__field(u64, handle)
		__field(u32, delay_ms)
	),
	TP_fast_assign(
		__entry->session = peer->session->id;
		__entry->handle = sb_peer_handle(peer);
		__entry->delay_ms = delay_ms;
	),
	TP_printk("session=%u handle=%#llx delay_ms=%u", __entry->session,
		  __entry->handle, __entry->delay_ms)
);

/* The kernel has answered heartbeats, or left what came to the application;
 * verdict is the number of the counter in enum sb_count.
 */
TRACE_EVENT(sockbeat_offload,
	TP_PROTO(const struct sb_session *session, const struct sock *sk,
		 u32 verdict, u32 bytes),
	TP_ARGS(session, sk, verdict, bytes),
	TP_STRUCT__entry(
		__field(u32, session)
		__field(u64, cookie)
		__field(u32, verdict)
		__field(u32, bytes)
	),
	TP_fast_assign(
		__entry->session = session->id;
		__entry->cookie = atomic64_read(&sk->sk_cookie);
		__entry->verdict = verdict;
		__entry->bytes = bytes;
	),
	TP_printk("session=%u cookie=%llx bytes=%u verdict=%s", __entry->session,
		  __entry->cookie, __entry->bytes,
		  __print_symbolic(__entry->verdict, { SB_ANSWERED, "answered" },
				   { SB_PASS_DATA, "data" },
				   { SB_PASS_PARTIAL, "partial" },
				   { SB_PASS_POSITION, "position" },
				   { SB_PASS_QUEUE, "queue" },
				   { SB_PASS_OWNED, "owned" },
				   { SB_PASS_MEMORY, "memory" },
				   { SB_PASS_RATE, "rate" },
				   { SB_PASS_STATE, "state" },
				   { SB_PASS_FOREIGN, "foreign" }))
);

#endif /* _SOCKBEAT_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
