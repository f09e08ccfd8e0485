/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libsockbeat - learn which TCP peers are alive
 *
 * A session tracks connected TCP sockets and reports the peers that fell
 * silent.  It works on one of two engines with the same behaviour: `kernel`
 * is the sockbeat module, `builtin` the same timing wheel in this library for
 * hosts without the module.
 *
 * Conventions: functions return 0 (or a count) on success and a negative
 * errno on failure; sockbeat_strerror() then explains.  Nothing is global: a
 * session may be used by one thread at a time, different sessions by
 * different threads at once.  No call blocks, except that netlink requests
 * wait for the kernel's answer.  Only sockbeat_conn_get() and
 * sockbeat_conn_put() may be called by any thread at any time, until
 * sockbeat_close() begins.
 */
#ifndef LIBSOCKBEAT_H
#define LIBSOCKBEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/sockbeat.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sockbeat;

enum sockbeat_engine {
	SOCKBEAT_ENGINE_AUTO,		/* kernel where it can be had, else builtin */
	SOCKBEAT_ENGINE_KERNEL,
	SOCKBEAT_ENGINE_BUILTIN,
};

/**
 * struct sockbeat_opts - how to make a session
 * @engine: which engine; SOCKBEAT_ENGINE_AUTO picks
 * @capacity: slots, 1..SOCKBEAT_MAX_CAPACITY; 0 for 65536
 * @timeout_ms: default timeout of peers, SOCKBEAT_MIN_TIMEOUT_MS ..
 *		SOCKBEAT_MAX_TIMEOUT_MS; 0 for the engine's default (60000, or
 *		what the module's default_timeout_ms says)
 * @renotify_ms: how often a level-triggered silent peer is reported again,
 *		 same range; 0 for the default (5000)
 * @source: default of what counts as heard
 * @trigger: default of how often a silent peer is reported
 * @recycle_delay_ms: default quarantine of recycled peers, 1..SOCKBEAT_MAX_DELAY_MS;
 *		      0 for the engine's default (60000, or what the module's
 *		      recycle_delay_ms says), SOCKBEAT_NO_DELAY for none
 * @action: what the engine does by itself to a peer that stays silent; 0, which
 *	    is notify, for the engine's default (notify, or what the module's
 *	    default_action says), and likewise below
 * @act_after_ms: how long a peer has been silent when the engine acts, up to
 *		  SOCKBEAT_MAX_TIMEOUT_MS
 * @suspect_percent: part of the timeout after which a peer is reported as
 *		     suspect, up to SOCKBEAT_MAX_SUSPECT_PERCENT
 * @adaptive_beats: intervals of a peer's own rhythm that make its timeout, up to
 *		    SOCKBEAT_MAX_ADAPTIVE_BEATS; @timeout_ms is the longest then
 * @adaptive_min_ms: the shortest, as for @timeout_ms
 * @guard_percent: part of the peers that may fall silent within @guard_window_ms
 *		   and still be acted on, up to SOCKBEAT_MAX_PERCENT
 * @guard_window_ms: as for @timeout_ms
 * @check_positions: for debugging: have sockbeat_conn_done() ask the kernel
 *		     whether all reads and writes were counted; costs a request
 *		     each
 * @exact: with the kernel engine, 0 of @action, @act_after_ms, @suspect_percent,
 *	   @adaptive_beats and @guard_percent does not stand for the module's
 *	   default, which whoever administers the machine may change, but for
 *	   0 or SOCKBEAT_ACTION_NOTIFY
 */
struct sockbeat_opts {
	enum sockbeat_engine engine;
	uint32_t capacity;
	uint32_t timeout_ms;
	uint32_t renotify_ms;
	enum sockbeat_source source;
	enum sockbeat_trigger trigger;
	uint32_t recycle_delay_ms;
	enum sockbeat_action action;
	uint32_t act_after_ms;
	uint32_t suspect_percent;
	uint32_t adaptive_beats;
	uint32_t adaptive_min_ms;
	uint32_t guard_percent;
	uint32_t guard_window_ms;
	bool check_positions;
	bool exact;
};

/* In place of a delay: the session's default, or none where 0 means that. */
#define SOCKBEAT_DEFAULT_DELAY	UINT32_MAX
#define SOCKBEAT_NO_DELAY	UINT32_MAX

/* Which members of struct sockbeat_peer are meant; absent ones take the
 * session's default on add and stay as they are on set.  What is added always
 * has its @user_data.
 */
#define SOCKBEAT_PEER_TIMEOUT	(1u << 0)
#define SOCKBEAT_PEER_SOURCE	(1u << 1)
#define SOCKBEAT_PEER_TRIGGER	(1u << 2)
#define SOCKBEAT_PEER_PROFILE	(1u << 3)
#define SOCKBEAT_PEER_PROBE	(1u << 4)
#define SOCKBEAT_PEER_RENOTIFY	(1u << 5)
#define SOCKBEAT_PEER_ACTION	(1u << 6)
#define SOCKBEAT_PEER_ACT_AFTER	(1u << 7)
#define SOCKBEAT_PEER_SUSPECT	(1u << 8)
#define SOCKBEAT_PEER_ADAPTIVE	(1u << 9)
#define SOCKBEAT_PEER_USER_DATA	(1u << 10)

/**
 * struct sockbeat_peer - one entry of a batch
 * @fd: the socket, for add
 * @error: set by the call: 0, or the negative errno of this entry
 * @handle: set by add, read by set
 * @user_data: returned with every event of the peer, opaque
 * @mask: SOCKBEAT_PEER_*: which of the members are meant
 * @timeout_ms: SOCKBEAT_MIN_TIMEOUT_MS .. SOCKBEAT_MAX_TIMEOUT_MS
 * @source: what counts as heard
 * @trigger: how often the peer is reported while silent
 * @profile: which heartbeats the kernel answers, by the number that
 *	     sockbeat_profile_set() was given; 0 for none
 * @probe_after_ms: silence after which the kernel sends the profile's probe,
 *		    0 .. SOCKBEAT_MAX_TIMEOUT_MS, 0 for never; kernel engine only
 * @renotify_ms: as in struct sockbeat_opts, and so on, but 0 means 0
 * @action: likewise
 * @act_after_ms: likewise
 * @suspect_percent: likewise
 * @adaptive_beats: likewise
 */
struct sockbeat_peer {
	int fd;
	int error;
	uint64_t handle;
	uint64_t user_data;
	uint32_t mask;
	uint32_t timeout_ms;
	enum sockbeat_source source;
	enum sockbeat_trigger trigger;
	uint32_t profile;
	uint32_t probe_after_ms;
	uint32_t renotify_ms;
	enum sockbeat_action action;
	uint32_t act_after_ms;
	uint32_t suspect_percent;
	uint32_t adaptive_beats;
};

/**
 * struct sockbeat_event - one thing that happened to one peer
 * @kind: SOCKBEAT_EVENT_KIND_SUSPECT, _SILENT, _HEARD, _GONE or _RECYCLED, or of
 *	  the session, with handle 0, _GUARD or _GUARD_OVER
 * @tcp_state: what TCP says of the socket, 1 is ESTABLISHED; 0 for RECYCLED
 * @refs: for RECYCLED: references that still hold the slot past its delay.
 *	  Reported again every renotify_ms, and with 0 when the slot is free.
 * @handle: the peer
 * @user_data: as given with the peer
 * @idle_ms: time since the peer was last heard
 * @late_ms: for SILENT: time since the timeout ran out; for RECYCLED: time
 *	     since the delay ran out
 * @action: for GONE: how the engine ended the socket, SOCKBEAT_ACTION_NOTIFY where
 *	    it did not
 * @peers: for GUARD and GUARD_OVER: how many peers are silent
 */
struct sockbeat_event {
	enum sockbeat_event_kind kind;
	uint32_t tcp_state;
	uint32_t refs;
	uint64_t handle;
	uint64_t user_data;
	uint64_t idle_ms;
	uint64_t late_ms;
	enum sockbeat_action action;
	uint32_t peers;
};

/**
 * struct sockbeat_info - one tracked peer, as sockbeat_list() shows it
 * @handle: the peer
 * @user_data: as given with the peer
 * @cookie: the socket's SO_COOKIE, 0 if not known
 * @idle_ms: time since the peer was last heard, 0 in quarantine
 * @left_ms: time that its quarantine still lasts, 0 when over or not in one
 * @timeout_ms: its timeout
 * @state: SOCKBEAT_STATE_*
 * @source: what counts as heard
 * @trigger: how often it is reported
 * @tcp_state: what TCP says of the socket, 0 when it is gone
 * @profile: its profile, 0 for none
 * @probe_after_ms: silence after which it is probed, 0 for never
 * @rx_behind: with a profile: bytes that were read from the socket beyond
 *	       where the application says it stands
 * @tx_behind: likewise for bytes written; negative while some still wait
 * @renotify_ms: as in struct sockbeat_peer, and so on
 * @action: likewise
 * @act_after_ms: likewise
 * @suspect_percent: likewise
 * @adaptive_beats: likewise
 * @limit_ms: its timeout as it is now, shorter than @timeout_ms where the peer
 *	      has a rhythm
 * @interval_ms: mean time between its heartbeats, 0 where that is not known
 * @deviation_ms: mean deviation from it
 * @suspect: it is live, but was not heard for @suspect_percent of its timeout
 */
struct sockbeat_info {
	uint64_t handle;
	uint64_t user_data;
	uint64_t cookie;
	uint64_t idle_ms;
	uint64_t left_ms;
	uint32_t timeout_ms;
	enum sockbeat_state state;
	enum sockbeat_source source;
	enum sockbeat_trigger trigger;
	uint32_t tcp_state;
	uint32_t profile;
	uint32_t probe_after_ms;
	int32_t rx_behind;
	int32_t tx_behind;
	uint32_t renotify_ms;
	enum sockbeat_action action;
	uint32_t act_after_ms;
	uint32_t suspect_percent;
	uint32_t adaptive_beats;
	uint32_t limit_ms;
	uint32_t interval_ms;
	uint32_t deviation_ms;
	bool suspect;
};

/**
 * struct sockbeat_stats - a session's counters, as in uapi/sockbeat.yaml
 * @held: slots that references hold past their delay now
 * @held_total: slots that ever were
 * @stale: references that were refused
 */
struct sockbeat_stats {
	uint32_t live, silent, gone, recycling;
	uint64_t added, deleted, silences, recoveries, sockets_gone;
	uint64_t events, messages, deferrals, bad_stamps;
	uint64_t ticks, tick_ns, checks, postponed;
	uint64_t recycles, recycled;
	uint64_t answered, pass_data, pass_partial, pass_position, pass_queue;
	uint64_t pass_owned, pass_memory, pass_rate, pass_state, pass_foreign;
	uint64_t probes, probes_answered, probes_skipped;
	uint64_t suspects, shutdowns, aborts, acts_deferred, acts_guarded, guards;
	uint32_t held;
	uint64_t held_total, stale;
};

/* Life of a session.  sockbeat_open() sets *@sbp even when it fails for
 * another reason than memory, so that sockbeat_strerror() can tell why; the
 * caller then closes it too.
 */
int sockbeat_open(struct sockbeat **sbp, const struct sockbeat_opts *opts);
int sockbeat_adopt(struct sockbeat **sbp, int session_fd);
void sockbeat_close(struct sockbeat *sb);

const char *sockbeat_strerror(const struct sockbeat *sb);
enum sockbeat_engine sockbeat_engine(const struct sockbeat *sb);
const char *sockbeat_engine_reason(const struct sockbeat *sb);
int sockbeat_fd(const struct sockbeat *sb);
int sockbeat_session_fd(const struct sockbeat *sb);
uint32_t sockbeat_capacity(const struct sockbeat *sb);
uint32_t sockbeat_free_slots(const struct sockbeat *sb);

/* Peers.  A batch is not a transaction here: every entry has its own @error,
 * and the return value is the number of entries that succeeded.
 */
int sockbeat_add(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
int sockbeat_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
int sockbeat_del(struct sockbeat *sb, const uint64_t *handles, size_t n);

void sockbeat_beat(struct sockbeat *sb, uint64_t handle);

/* Retirement: a slot in quarantine, or referred to, is given to no other peer. */
int sockbeat_recycle(struct sockbeat *sb, const uint64_t *handles, size_t n, uint32_t delay_ms,
		     enum sockbeat_end end);
int sockbeat_extend(struct sockbeat *sb, const uint64_t *handles, size_t n, uint32_t delay_ms);

/* References, for threads that work for a peer. */
int sockbeat_conn_get(struct sockbeat *sb, uint64_t handle);
void sockbeat_conn_put(struct sockbeat *sb, uint64_t handle);

/**
 * struct sockbeat_pattern - one kind of heartbeat frame
 * @value: the frame
 * @len: its length, 1 .. SOCKBEAT_MAX_FRAME_BYTES
 * @mask: bits of @value that have to be met, @len bytes; NULL for all
 * @reply: the answer, NULL for none
 * @reply_len: its length, up to SOCKBEAT_MAX_FRAME_BYTES
 * @copy_from: first byte of the frame that is copied into the answer
 * @copy_to: where in the answer it goes
 * @copy_bytes: how many are copied
 * @answers_probe: the frame answers a probe, and is expected only then
 */
struct sockbeat_pattern {
	const void *value;
	size_t len;
	const void *mask;
	const void *reply;
	size_t reply_len;
	size_t copy_from, copy_to, copy_bytes;
	bool answers_probe;
};

/**
 * struct sockbeat_profile - a protocol's heartbeats
 * @name: for logs and configuration
 * @min_interval_ms: heartbeats that come sooner after one that the kernel
 *		     answered go to the application, as does one after a
 *		     thousand with no pause of a second between them
 * @probe: what makes a peer of this protocol answer, NULL where there is none
 * @probe_len: its length, up to SOCKBEAT_MAX_FRAME_BYTES
 * @patterns: kinds of frames, tried in order
 * @n_patterns: how many, 1 .. SOCKBEAT_MAX_PATTERNS
 */
struct sockbeat_profile {
	const char *name;
	uint32_t min_interval_ms;
	const void *probe;
	size_t probe_len;
	const struct sockbeat_pattern *patterns;
	size_t n_patterns;
};

/* Heartbeat offload: profiles, the shipped ones by name: native, resp, mqtt,
 * websocket, http2.  Ids are 1 .. SOCKBEAT_MAX_PROFILES.
 */
const struct sockbeat_profile *sockbeat_profile_named(const char *name);
const struct sockbeat_profile *sockbeat_profile_shipped(size_t i);
int sockbeat_profile_set(struct sockbeat *sb, uint32_t id, const struct sockbeat_profile *profile);
int sockbeat_profile_del(struct sockbeat *sb, uint32_t id);
int sockbeat_profile_match(struct sockbeat *sb, uint32_t id, const void *data, size_t len,
			   void *reply, size_t *reply_len);

/**
 * struct sockbeat_conn - where an application stands in one connection
 * @sb: the session
 * @handle: the peer
 * @read: bytes read since sockbeat_conn_begin(), modulo 2^32
 * @written: bytes written since then
 * @undone: bytes of @read that it is not done with
 * @unsent: bytes that still have to be written
 *
 * Embedded by the user, one for each connection, for one thread at a time.  The
 * kernel answers heartbeats only where it knows that the application stands
 * between two frames, and it knows by these.
 */
struct sockbeat_conn {
	struct sockbeat *sb;
	uint64_t handle;
	uint32_t read, written;
	uint32_t undone, unsent;
};

/* Heartbeat offload: positions.  Read and write with the two wrappers, or count
 * what was read and written by other means, and after each round say what is
 * left to do.
 */
void sockbeat_conn_begin(struct sockbeat *sb, struct sockbeat_conn *conn, uint64_t handle);
ssize_t sockbeat_conn_read(struct sockbeat_conn *conn, int fd, void *buf, size_t len);
ssize_t sockbeat_conn_write(struct sockbeat_conn *conn, int fd, const void *buf, size_t len);
void sockbeat_conn_count(struct sockbeat_conn *conn, size_t read, size_t written);
int sockbeat_conn_done(struct sockbeat_conn *conn, size_t undone, size_t unsent);
int sockbeat_conn_check(const struct sockbeat_conn *conn);

/* Events: when sockbeat_fd() is readable, call until it returns less than
 * @max.  Never blocks; 0 when there is nothing.
 */
int sockbeat_events(struct sockbeat *sb, struct sockbeat_event *events, int max);

int sockbeat_get_stats(struct sockbeat *sb, struct sockbeat_stats *stats);
int sockbeat_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info);
int sockbeat_list(struct sockbeat *sb, uint32_t states,
		  int (*cb)(const struct sockbeat_info *info, void *arg), void *arg);

static inline uint32_t sockbeat_index(uint64_t handle)
{
	return (uint32_t)handle;
}

#ifdef __cplusplus
}
#endif

#endif /* LIBSOCKBEAT_H */
