/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module's files know of each other.
 *
 * Locks, outermost first:
 *
 *   sb_sessions_mutex	session lists of all namespaces, against their exit
 *   the socket's lock	held by TCP when sb_hook_state() runs, and as spinlock by
 *			sb_peer_track() while a socket is entered
 *   session->lock	everything about a session's peers; spinlock, BH off
 *   sk_callback_lock	of a socket, whether it is offloaded and to which peer
 *
 * A peer is found from its socket under RCU in sb_socks and is freed after a
 * grace period; so is a session.
 */
#ifndef _SOCKBEAT_H
#define _SOCKBEAT_H

#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/rhashtable.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <net/sock.h>
#include <uapi/linux/sockbeat.h>
#include <uapi/linux/sockbeat_slots.h>

#include "match.h"
#include "wheel.h"

struct sb_later;
struct sb_offload;
struct sb_user;

/* The most entries of one batch, which is also the most work that is done
 * in one go under a session's lock for a request.
 */
#define SB_BATCH_MAX	256

/* The most events of one message; fewer where they do not fit a page. */
#define SB_EVENTS_MAX	64

#define SB_NO_SLOT	U32_MAX

/**
 * enum sb_pending - what a peer on the ready list has to tell
 * @SB_TELL_NOTHING: not on the ready list
 * @SB_TELL_SILENT: fell silent, or is still silent at renotify_ms
 * @SB_TELL_HEARD: was told silent, is live again
 * @SB_TELL_GONE: its socket went away
 * @SB_TELL_RECYCLED: its quarantine is over
 */
enum sb_pending {
	SB_TELL_NOTHING,
	SB_TELL_SILENT,
	SB_TELL_HEARD,
	SB_TELL_GONE,
	SB_TELL_RECYCLED,
};

/**
 * struct sb_peer - a tracked socket
 * @node: place on the session's wheel; session->lock
 * @ready: place on the session's ready list; session->lock
 * @hash: place in sb_socks; written under session->lock, read under RCU
 * @sk: the socket, with a reference; NULL when it is gone or recycled;
 *	session->lock
 * @sk_key: the socket's address, the key in sb_socks; constant
 * @session: owner; constant
 * @user_data: opaque, returned with events; session->lock
 * @heard_ms: newest time the peer is known to have been heard; session->lock
 * @recycle_end_ms: in quarantine instead: when that is over; session->lock
 * @lrcvtime: TCP's time of the last payload when it was last read;
 *	      session->lock
 * @timeout_ms: silence after which the peer is reported; session->lock
 * @rx_base: TCP's copied_seq without what the application has read since
 *	     peer-add; the socket's lock
 * @tx_base: TCP's write_seq without what it has written since then; the
 *	     socket's lock
 * @offload: its part in offload.c, NULL for none; session->lock
 * @index: slot; constant
 * @state: enum sockbeat_state; session->lock
 * @source: enum sockbeat_source; session->lock
 * @trigger: enum sockbeat_trigger; session->lock
 * @pending: enum sb_pending; session->lock
 * @told: the newest event delivered was SILENT, or RECYCLED; session->lock
 * @sending: @pending is in the message that is under way; session->lock
 * @marked: named in the batch that is being checked; session->lock
 * @hold: keep the slot when the quarantine is over; session->lock
 * @rcu: for call_rcu()
 */
struct sb_peer {
	struct sb_wheel_node node;
	struct list_head ready;
	struct rhash_head hash;
	struct sock *sk;
	const struct sock *sk_key;
	struct sb_session *session;
	u64 user_data;
	union {
		u64 heard_ms;
		u64 recycle_end_ms;
	};
	struct sb_offload *offload;
	u32 lrcvtime;
	u32 timeout_ms;
	u32 rx_base;
	u32 tx_base;
	u32 index;
	u8 state : 2;
	u8 source : 2;
	u8 trigger : 1;
	u8 pending;
	u8 told : 1;
	u8 sending : 1;
	u8 marked : 1;
	u8 hold : 1;
	struct rcu_head rcu;
};

/**
 * struct sb_slot - a slot of a session's table, all under session->lock
 * @peer: who has it, NULL while it is free
 * @generation: of the present or the last peer; never 0 once used
 * @next: next free slot in order of release, SB_NO_SLOT at the end
 */
struct sb_slot {
	struct sb_peer *peer;
	u32 generation;
	u32 next;
};

/**
 * struct sb_stats - counters of a session, all under session->lock
 *
 * Meanings as in the netlink spec.
 */
struct sb_stats {
	u32 count[SOCKBEAT_STATE_RECYCLING + 1];
	u64 added;
	u64 deleted;
	u64 silences;
	u64 recoveries;
	u64 sockets_gone;
	u64 events;
	u64 messages;
	u64 deferrals;
	u64 bad_stamps;
	u64 ticks;
	u64 tick_ns;
	u64 checks;
	u64 postponed;
	u64 recycles;
	u64 recycled;
};

/**
 * enum sb_count - what is counted where a session's lock is not at hand
 * @SB_ANSWERED: heartbeats answered
 * @SB_PASS_DATA: arrivals left to the application, by reason
 * @SB_PASS_PARTIAL: likewise, and so on to @SB_PASS_FOREIGN
 * @SB_PASS_POSITION: likewise
 * @SB_PASS_QUEUE: likewise
 * @SB_PASS_OWNED: likewise
 * @SB_PASS_MEMORY: likewise
 * @SB_PASS_RATE: likewise
 * @SB_PASS_STATE: likewise
 * @SB_PASS_FOREIGN: likewise
 * @SB_PROBES: probes sent
 * @SB_PROBES_ANSWERED: answers to probes taken
 * @SB_PROBES_SKIPPED: probes due that were not sent
 * @SB_COUNTS: number of the above
 */
enum sb_count {
	SB_ANSWERED,
	SB_PASS_DATA,
	SB_PASS_PARTIAL,
	SB_PASS_POSITION,
	SB_PASS_QUEUE,
	SB_PASS_OWNED,
	SB_PASS_MEMORY,
	SB_PASS_RATE,
	SB_PASS_STATE,
	SB_PASS_FOREIGN,
	SB_PROBES,
	SB_PROBES_ANSWERED,
	SB_PROBES_SKIPPED,
	SB_COUNTS,
};

/**
 * struct sb_counts - one processor's part of a session's counters
 * @count: by enum sb_count; that processor's, by operations that an interrupt
 *	   cannot come between
 */
struct sb_counts {
	u64 count[SB_COUNTS];
};

/**
 * struct sb_session_profile - a profile that a session has registered
 * @rcu: for kfree_rcu()
 * @profile: the profile; constant
 */
struct sb_session_profile {
	struct rcu_head rcu;
	struct sb_profile profile;
};

/* Peers that a tick looks at, and may have to send a probe to, in one go. */
#define SB_CHECK_CHUNK	64

/**
 * struct sb_session - what a session's fd stands for
 * @rcu: for kfree_rcu(), which wants it near the beginning
 * @lock: protects all that follows down to @profile, and the peers
 * @wheel: when to look at which peer
 * @ready: peers that have something to tell, oldest first
 * @slots: the table, @capacity entries
 * @fresh: slots from here on were never used
 * @free_head: free slot to use next, SB_NO_SLOT for none
 * @free_tail: free slot released last
 * @net: the namespace; NULL once that is gone
 * @portid: netlink port of the events, 0 for none; read under RCU to find
 *	    the sessions of a closing port
 * @port_sk: that port's socket, with a reference; NULL for none
 * @timer_ms: when @timer runs next, U64_MAX while it is not armed
 * @backoff_ms: wait before the next attempt to send, 0 after a success
 * @retry_ms: when that attempt is due
 * @timeout_ms: default for new peers
 * @renotify_ms: how often a level-triggered peer is told again
 * @recycle_delay_ms: default quarantine
 * @source: default for new peers
 * @trigger: default for new peers
 * @ticking: the work runs and will say itself when it is wanted again
 * @closing: no timer and no work is started any more
 * @stats: counters
 * @profile: offload profiles by id; session->lock, read under RCU
 * @batch: handles in the message that is under way; only the work's
 * @probe: sockets that a probe is due for, each with a reference; only the work's
 * @n_probe: entries of @probe in use; only the work's
 * @counts: per processor
 * @capacity: slots; constant
 * @first_generation: what a slot begins with; constant
 * @tick_ms: the wheel's unit; constant
 * @id: name in events; constant
 * @pages: the slot page, filled by faults; an entry is set once
 * @n_pages: entries of @pages; constant
 * @user: whose limits apply; constant
 * @wait: for poll()
 * @timer: starts @work
 * @work: the tick
 * @list: place in the namespace's list; sb_sessions_mutex, read under RCU
 */
struct sb_session {
	struct rcu_head rcu;
	spinlock_t lock;	/* see above: the peers, and what follows */
	struct sb_wheel wheel;
	struct list_head ready;
	struct sb_slot *slots;
	u32 fresh;
	u32 free_head;
	u32 free_tail;
	struct net *net;
	u32 portid;
	struct sock *port_sk;
	u64 timer_ms;
	u64 retry_ms;
	u32 backoff_ms;
	u32 timeout_ms;
	u32 renotify_ms;
	u32 recycle_delay_ms;
	u8 source;
	u8 trigger;
	bool ticking;
	bool closing;
	struct sb_stats stats;
	struct sb_session_profile __rcu *profile[SOCKBEAT_MAX_PROFILES + 1];

	u64 batch[SB_EVENTS_MAX];
	struct sock *probe[SB_CHECK_CHUNK];
	unsigned int n_probe;
	struct sb_counts __percpu *counts;

	u32 capacity;
	u32 first_generation;
	u32 tick_ms;
	u32 id;
	struct page **pages;
	u32 n_pages;
	struct sb_user *user;
	wait_queue_head_t wait;
	struct hrtimer timer;
	struct work_struct work;
	struct list_head list;
};

/**
 * struct sb_peer_conf - what a request says about a peer
 * @user_data: opaque
 * @timeout_ms: within the spec's range
 * @delay_ms: time in quarantine, within the spec's range
 * @source: enum sockbeat_source
 * @trigger: enum sockbeat_trigger
 * @end: enum sockbeat_end
 * @profile: offload profile, 0 for none
 * @probe_after_ms: within the spec's range, 0 for never
 * @hold: keep the slot when the quarantine is over
 * @has_user_data: @user_data was given
 * @has_timeout: @timeout_ms was given
 * @has_source: @source was given
 * @has_trigger: @trigger was given
 * @has_delay: @delay_ms was given
 * @has_profile: @profile was given
 * @has_probe_after: @probe_after_ms was given
 */
struct sb_peer_conf {
	u64 user_data;
	u32 timeout_ms;
	u32 delay_ms;
	u32 probe_after_ms;
	u8 source;
	u8 trigger;
	u8 end;
	u8 profile;
	bool hold;
	bool has_user_data;
	bool has_timeout;
	bool has_source;
	bool has_trigger;
	bool has_delay;
	bool has_profile;
	bool has_probe_after;
};

static inline u64 sb_now_ms(void)
{
	return ktime_to_ms(ktime_get());
}

static inline u64 sb_peer_handle(const struct sb_peer *peer)
{
	u64 generation = peer->session->slots[peer->index].generation;

	return generation << 32 | peer->index;
}

/* event.c: the ready list and the messages made from it */
void sb_event_push(struct sb_peer *peer, enum sb_pending pending);
void sb_event_drop(struct sb_peer *peer);
bool sb_event_flush(struct sb_session *session);

/* hook.c: from a socket to its peer, and the end of a socket */
int sb_hook_init(void);
void sb_hook_exit(void);
int sb_hook_insert(struct sb_peer *peer);
void sb_hook_remove(struct sb_peer *peer);
struct sb_peer *sb_hook_find(const struct sock *sk);

/* later.c: what is done for a request when generic netlink's lock is dropped */
struct sb_later *sb_later_new(unsigned int n);
void sb_later_end(struct sb_later *later, struct sock *sk, enum sockbeat_end end);
void sb_later_run(struct sb_later *later);
const char *sb_later_text(const char *fmt, ...) __printf(1, 2);
void sb_later_exit(void);

/* message.c: event messages */
struct sk_buff *sb_message_new(struct sb_session *session);
bool sb_message_put(struct sk_buff *skb, struct sb_peer *peer, u64 now_ms);
int sb_message_send(struct net *net, struct sk_buff *skb, u32 portid);

/* netlink.c: the family and its requests */
int sb_netlink_init(void);
void sb_netlink_exit(void);

/* offload.c: heartbeats that the kernel answers, probes that it sends */
int sb_offload_init(void);
void sb_offload_exit(void);
struct sb_offload *sb_offload_alloc(void);
void sb_offload_free(struct sb_offload *offload);
int sb_offload_check_conf(const struct sb_peer *peer,
			  const struct sb_peer_conf *conf, const char **why);
int sb_offload_attach(struct sb_peer *peer, struct sb_offload *offload,
		      const char **why);
void sb_offload_detach(struct sb_peer *peer);
void sb_offload_withdraw(struct sb_peer *peer);
void sb_offload_set(struct sb_peer *peer, const struct sb_peer_conf *conf);
bool sb_offload_heard(struct sb_peer *peer, u32 *when);
u64 sb_offload_probe_ms(const struct sb_peer *peer);
void sb_offload_check(struct sb_peer *peer, u64 now_ms);
void sb_offload_probe(struct sb_session *session);
u64 sb_offload_sum(const struct sb_session *session, enum sb_count count);

/**
 * struct sb_offload_info - what is to be shown of a peer's offload
 * @profile: its profile
 * @probe_after_ms: silence after which it is probed
 * @rx_behind: bytes read but not said to be
 * @tx_behind: bytes written but not said to be
 */
struct sb_offload_info {
	u8 profile;
	u32 probe_after_ms;
	s32 rx_behind;
	s32 tx_behind;
};

void sb_offload_info(const struct sb_peer *peer, struct sb_offload_info *info);

/* param.c: sysfs tunables */
extern unsigned int sb_default_timeout_ms;
extern unsigned int sb_renotify_ms;
extern unsigned int sb_recycle_delay_ms;
extern unsigned int sb_first_generation;
extern unsigned int sb_tick_ms;
extern unsigned int sb_max_expire_per_tick;
extern unsigned int sb_max_peers_per_user;
extern unsigned int sb_max_sessions_per_user;

/* peer.c: the life of a peer */
int sb_peer_init(void);
void sb_peer_exit(void);
struct sb_peer *sb_peer_alloc(struct sb_session *session, struct sock *sk,
			      const struct sb_peer_conf *conf);
void sb_peer_free(struct sb_peer *peer);
int sb_peer_track(struct sb_peer *peer, const struct sb_peer_conf *conf,
		  u64 *handle, u64 until_ms, const char **why);
struct sock *sb_peer_untrack(struct sb_peer *peer);
void sb_peer_set(struct sb_peer *peer, const struct sb_peer_conf *conf,
		 u64 now_ms);
void sb_peer_gone(struct sb_peer *peer);
struct sb_peer *sb_peer_find(struct sb_session *session, u64 handle);
u64 sb_peer_idle_ms(struct sb_peer *peer, u64 now_ms);
void sb_peer_check(struct sb_peer *peer, u64 now_ms);
bool sb_peer_revive(struct sb_peer *peer, u64 now_ms);
void sb_peer_become(struct sb_peer *peer, enum sockbeat_state state);
struct sock *sb_peer_let_go(struct sb_peer *peer);
void sb_peer_leave(struct sb_peer *peer);

/* recycle.c: quarantine */
struct sock *sb_recycle_begin(struct sb_peer *peer,
			      const struct sb_peer_conf *conf, u64 now_ms);
void sb_recycle_check(struct sb_peer *peer, u64 now_ms);
void sb_recycle_told(struct sb_peer *peer, u64 now_ms);

/* session.c: a session and its fd */
extern struct mutex sb_sessions_mutex;
int sb_session_init(void);
void sb_session_exit(void);
struct file *sb_session_open(struct net *net, u32 portid, struct sock *sk,
			     u32 capacity, const char **why);
struct sock *sb_session_set_port(struct sb_session *session, u32 portid,
				 struct sock *sk);
struct sb_session *sb_session_of(const struct file *file);
void sb_session_schedule(struct sb_session *session, u64 when_ms);
void sb_session_arm(struct sb_session *session, struct sb_peer *peer,
		    u64 when_ms);
struct sockbeat_slot *sb_session_slot(struct sb_session *session, u32 index);
u64 sb_session_stamp(struct sb_session *session, u32 index);
void sb_session_clear_slot(struct sb_session *session, u32 index);

/* user.c: limits per user */
struct sb_user *sb_user_get(u32 capacity, const char **why);
void sb_user_put(struct sb_user *user, u32 capacity);

#endif /* _SOCKBEAT_H */
