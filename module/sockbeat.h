/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module's files know of each other.
 *
 * Locks, outermost first:
 *
 *   sb_sessions_mutex	sessions of all namespaces, against their exit
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

#include "adapt.h"
#include "guard.h"
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
 * @SB_TELL_SUSPECT: may fall silent soon
 */
enum sb_pending {
	SB_TELL_NOTHING,
	SB_TELL_SILENT,
	SB_TELL_HEARD,
	SB_TELL_GONE,
	SB_TELL_RECYCLED,
	SB_TELL_SUSPECT,
};

/**
 * struct sb_policy - what can be set for a peer, and as default for peers
 * @timeout_ms: silence after which it is reported, the longest if adaptive
 * @renotify_ms: how often it is reported again if level-triggered
 * @act_after_ms: how long it has been silent when the kernel acts
 * @source: enum sockbeat_source
 * @trigger: enum sockbeat_trigger
 * @action: enum sockbeat_action
 * @adaptive_beats: intervals of a peer's rhythm that make its timeout, 0 for
 *		    a fixed one
 * @suspect_percent: part of the timeout after which it is suspect, 0 for none
 *
 * All within the ranges that the netlink spec gives.
 */
struct sb_policy {
	u32 timeout_ms;
	u32 renotify_ms;
	u32 act_after_ms;
	u8 source : 2;
	u8 trigger : 1;
	u8 action : 2;
	u8 adaptive_beats : 4;
	u8 suspect_percent;
};

/**
 * struct sb_peer - a tracked socket
 * @node: place on the session's wheel; session->lock
 * @ready: place on the session's ready list; session->lock
 * @rcu: for call_rcu(), when it is on no list any more
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
 * @rx_base: TCP's copied_seq without what the application has read since
 *	     peer-add; the socket's lock
 * @tx_base: TCP's write_seq without what it has written since then; the
 *	     socket's lock
 * @offload: its part in offload.h, NULL for none; session->lock
 * @index: slot; constant
 * @policy: settings; session->lock
 * @interval_ms: its rhythm as in struct sb_adapt; session->lock
 * @deviation_ms: likewise
 * @samples: likewise
 * @state: enum sockbeat_state; session->lock
 * @pending: enum sb_pending; session->lock
 * @told: the newest event delivered was SUSPECT, SILENT or RECYCLED;
 *	  session->lock
 * @sending: @pending is in the message that is under way; session->lock
 * @marked: named in the batch that is being checked; session->lock
 * @hold: keep the slot when the quarantine is over; session->lock
 * @suspect: live, but not heard for policy.suspect_percent; session->lock
 * @acting: the kernel is about to end the socket, or it waits in line for that;
 *	    session->lock
 * @acted: enum sockbeat_action with which the kernel has set out to end it;
 *	   session->lock
 * @shut_out: it could not be heard when the kernel would have ended it last;
 *	      session->lock
 * @deferred: since it was heard last the kernel could not end it yet;
 *	      session->lock
 */
struct sb_peer {
	struct sb_wheel_node node;
	union {
		struct list_head ready;
		struct rcu_head rcu;
	};
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
	u32 rx_base;
	u32 tx_base;
	u32 index;
	struct sb_policy policy;
	u64 interval_ms : SB_ADAPT_BITS;
	u64 deviation_ms : SB_ADAPT_BITS;
	u64 samples : 3;
	u64 state : 2;
	u64 pending : 3;
	u64 told : 1;
	u64 sending : 1;
	u64 marked : 1;
	u64 hold : 1;
	u64 suspect : 1;
	u64 acting : 1;
	u64 acted : 2;
	u64 shut_out : 1;
	u64 deferred : 1;
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
	u64 suspects;
	u64 shutdowns;
	u64 aborts;
	u64 acts_deferred;
	u64 acts_guarded;
	u64 guards;
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
 * @is_echo: sb_profile_is_echo(); constant
 * @profile: the profile; constant
 */
struct sb_session_profile {
	struct rcu_head rcu;
	bool is_echo;
	struct sb_profile profile;
};

/* Peers that a tick looks at, and may have to send a probe to or to end, in
 * one go.
 */
#define SB_CHECK_CHUNK	64

/* When to look again at a peer that could not be ended. */
#define SB_ACT_RETRY_MS	1000

/**
 * struct sb_acts - sockets to be ended; whoever has it
 * @item: place in the queue of their user
 * @n: entries of @sk
 * @sk: the sockets, each with a reference
 */
struct sb_acts {
	struct list_head item;
	unsigned int n;
	struct sock *sk[];
};

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
 * @policy: default for new peers; its renotify_ms is that of quarantines, too
 * @adaptive_min_ms: shortest timeout that a rhythm leads to
 * @recycle_delay_ms: default quarantine
 * @guard: the mass silence guard
 * @pid: who made it or took it over last
 * @ticking: the work runs and will say itself when it is wanted again
 * @closing: no timer and no work is started any more; read without the lock
 * @stats: counters
 * @profile: offload profiles by id; session->lock, read under RCU
 * @turn: odd while a message is under way; session->lock, read without it
 * @batch: handles in the message that is under way; only the work's
 * @probe: sockets that a probe is due for, each with a reference; only the work's
 * @n_probe: entries of @probe in use; only the work's
 * @act: sockets that the kernel has to end, each with a reference; only the work's
 * @n_act: entries of @act in use; only the work's
 * @counts: per processor
 * @capacity: slots; constant
 * @first_generation: what a slot begins with; constant
 * @tick_ms: the wheel's unit; constant
 * @id: name in events, no other's in its namespace; constant
 * @file: the file; no reference, sb_sessions_mutex
 * @pages: the slot page, filled by faults; an entry is set once
 * @n_pages: entries of @pages; constant
 * @user: whose limits apply; constant
 * @parked: place among those that wait for a turn of @user's; its turns_lock
 * @has_turn: was handed one, which its work has not taken yet; likewise
 * @wait: for poll()
 * @timer: starts @work
 * @work: the tick
 * @all: place in sb_sessions; sb_sessions_mutex
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
	struct sb_policy policy;
	u32 adaptive_min_ms;
	u32 recycle_delay_ms;
	struct sb_guard guard;
	struct pid *pid;
	bool ticking;
	bool closing;
	struct sb_stats stats;
	struct sb_session_profile __rcu *profile[SOCKBEAT_MAX_PROFILES + 1];

	unsigned int turn;
	u64 batch[SB_EVENTS_MAX];
	struct sock *probe[SB_CHECK_CHUNK];
	unsigned int n_probe;
	struct sock *act[SB_CHECK_CHUNK];
	unsigned int n_act;
	struct sb_counts __percpu *counts;

	u32 capacity;
	u32 first_generation;
	u32 tick_ms;
	u32 id;
	struct file *file;
	struct page **pages;
	u32 n_pages;
	struct sb_user *user;
	struct list_head parked;
	bool has_turn;
	wait_queue_head_t wait;
	struct hrtimer timer;
	struct work_struct work;
	struct list_head all;
};

/**
 * struct sb_peer_conf - what a request says about a peer
 * @given: bits of the attributes that it has
 * @user_data: opaque
 * @policy: settings
 * @delay_ms: time in quarantine, within the spec's range
 * @probe_after_ms: within the spec's range, 0 for never
 * @end: enum sockbeat_end
 * @profile: offload profile, 0 for none
 * @hold: keep the slot when the quarantine is over
 */
struct sb_peer_conf {
	unsigned long given;
	u64 user_data;
	struct sb_policy policy;
	u32 delay_ms;
	u32 probe_after_ms;
	u8 end;
	u8 profile;
	bool hold;
};

static inline bool sb_conf_has(const struct sb_peer_conf *conf, unsigned int attr)
{
	return conf->given & BIT(attr);
}

static inline u64 sb_now_ms(void)
{
	return ktime_to_ms(ktime_get());
}

static inline u64 sb_peer_handle(const struct sb_peer *peer)
{
	u64 generation = peer->session->slots[peer->index].generation;

	return generation << 32 | peer->index;
}

/* act.c: what the kernel does by itself to silent peers, and what guards it */
u64 sb_act_due_ms(const struct sb_peer *peer);
bool sb_act_is_told(const struct sb_peer *peer, u64 now_ms);
void sb_act_check(struct sb_peer *peer, u64 now_ms);
void sb_act_run(struct sb_session *session);
void sb_acts_do(struct sb_acts *acts);
void sb_act_silence(struct sb_peer *peer, u64 now_ms);
u64 sb_act_guard(struct sb_session *session, u64 now_ms);

/* event.c: the ready list and the messages made from it */
void sb_event_push(struct sb_peer *peer, enum sb_pending pending);
void sb_event_drop(struct sb_peer *peer);
bool sb_event_waits(const struct sb_session *session);
void sb_event_wait(struct sb_session *session);
bool sb_event_flush(struct sb_session *session);

/* hook.c: from a socket to its peer, and the end of a socket */
int sb_hook_init(void);
void sb_hook_exit(void);
int sb_hook_insert(struct sb_peer *peer);
void sb_hook_remove(struct sb_peer *peer);
struct sb_peer *sb_hook_find(const struct sock *sk);
void sb_hook_end(struct sock *sk);

/* later.c: what is done for a request when generic netlink's lock is dropped */
struct sb_later *sb_later_new(unsigned int n);
void sb_later_end(struct sb_later *later, struct sock *sk, enum sockbeat_end end);
void sb_later_run(struct sb_later *later);
void sb_later_end_now(struct sock *sk, enum sockbeat_end end, int err);
const char *sb_later_text(const char *fmt, ...) __printf(1, 2);
void sb_later_exit(void);

/* message.c: event messages */
struct sk_buff *sb_message_new(struct sb_session *session);
bool sb_message_put(struct sk_buff *skb, struct sb_peer *peer, u64 now_ms);
bool sb_message_put_guard(struct sk_buff *skb, const struct sb_session *session);
int sb_message_send(struct net *net, struct sk_buff *skb, u32 portid);

/* netlink.c: the family and its requests */
int sb_netlink_init(void);
void sb_netlink_exit(void);

/* offload.c, answer.c: heartbeats that the kernel answers, probes that it sends */
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
bool sb_offload_heard(const struct sb_peer *peer, u32 *when);
void sb_offload_see(struct sb_peer *peer, u32 when);
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
extern unsigned int sb_default_action;
extern unsigned int sb_act_after_ms;
extern unsigned int sb_suspect_percent;
extern unsigned int sb_adaptive_beats;
extern unsigned int sb_adaptive_min_ms;
extern unsigned int sb_guard_percent;
extern unsigned int sb_guard_window_ms;
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
void sb_peer_become(struct sb_peer *peer, enum sockbeat_state state);
void sb_peer_disarm(struct sb_peer *peer);
struct sock *sb_peer_let_go(struct sb_peer *peer);
void sb_peer_leave(struct sb_peer *peer);

/* heard.c: when a peer was heard, and what it means that it was not */
void sb_peer_arm(struct sb_peer *peer, u64 now_ms);
void sb_peer_await(struct sb_peer *peer, u64 when_ms);
void sb_peer_listen(struct sb_peer *peer, u64 now_ms);
u64 sb_peer_peek_ms(const struct sb_peer *peer, u64 now_ms);
u32 sb_peer_limit_ms(const struct sb_peer *peer);
struct sb_adapt sb_peer_rhythm(const struct sb_peer *peer);
u64 sb_peer_again_ms(const struct sb_peer *peer, u64 now_ms);
bool sb_peer_clear(struct sb_peer *peer, u64 now_ms);
bool sb_peer_revive(struct sb_peer *peer, u64 now_ms);
void sb_peer_check(struct sb_peer *peer, u64 now_ms);

/* recycle.c: quarantine */
struct sock *sb_recycle_begin(struct sb_peer *peer,
			      const struct sb_peer_conf *conf, u64 now_ms);
void sb_recycle_check(struct sb_peer *peer, u64 now_ms);
void sb_recycle_told(struct sb_peer *peer, u64 now_ms);

/* session.c: a session and its fd */
extern struct mutex sb_sessions_mutex;
extern struct list_head sb_sessions;
int sb_session_init(void);
void sb_session_exit(void);
struct file *sb_session_open(struct net *net, u32 portid, struct sock *sk,
			     u32 capacity, const char **why);
struct sock *sb_session_set_port(struct sb_session *session, u32 portid,
				 struct sock *sk);
struct file *sb_session_find(struct sk_buff *skb, u32 id);
struct file *sb_session_next(struct sk_buff *skb, u32 id);
struct sb_session *sb_session_of(const struct file *file);
void sb_session_run(struct sb_session *session);
void sb_session_schedule(struct sb_session *session, u64 when_ms);
void sb_session_arm(struct sb_session *session, struct sb_peer *peer,
		    u64 when_ms);

/* slotpage.c: the records that the process writes */
bool sb_slotpage_alloc(struct sb_session *session);
void sb_slotpage_free(struct sb_session *session);
int sb_slotpage_mmap(struct file *file, struct vm_area_struct *vma);
struct sockbeat_slot *sb_session_slot(struct sb_session *session, u32 index);
u64 sb_session_stamp(struct sb_session *session, u32 index);
void sb_session_clear_slot(struct sb_session *session, u32 index);

/* sysfs.c: totals of all sessions */
int sb_sysfs_init(void);
void sb_sysfs_exit(void);
void sb_sysfs_ended(const struct sb_session *session);

/* user.c: limits per user, whose turn it is, what has to wait for a user's sockets */
int sb_user_init(void);
void sb_user_exit(void);
bool sb_user_begin_turn(struct sb_session *session);
void sb_user_end_turn(struct sb_session *session);
void sb_user_forget_turn(struct sb_session *session);
bool sb_user_queue(struct sb_user *user, struct sb_acts *acts);
kuid_t sb_user_uid(const struct sb_user *user);
struct sb_user *sb_user_get(u32 capacity, const char **why);
void sb_user_put(struct sb_user *user, u32 capacity);

#endif /* _SOCKBEAT_H */
