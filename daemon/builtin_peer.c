// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a peer on the builtin engine.
 *
 *   state      on the wheel until          on the ready list
 *   ---------  --------------------------  --------------------------------
 *   LIVE       its earliest expiry,        only to tell HEARD or SUSPECT
 *              warning or heartbeat
 *   SILENT     the next look, once told,   until told
 *              or its end is due
 *   GONE       the next reminder, once     until told
 *              told, if level-triggered
 *   RECYCLING  its quarantine is over;     until told, which frees the slot
 *              the next reminder, if held  if that is not held
 *
 * Nothing happens when a peer is heard; when its bucket comes due TCP is asked
 * when it last received payload.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "builtin.h"

/**
 * peer_arm - put a peer on the wheel, or move it there
 * @b: the session
 * @peer: the peer
 * @when_ms: when to look at it
 */
void peer_arm(struct builtin *b, struct peer *peer, uint64_t when_ms)
{
	if (sb_wheel_armed(&peer->node))
		sb_wheel_del(&b->wheel, &peer->node);
	/* An empty wheel is not kept turning. */
	if (!b->wheel.count)
		sb_wheel_advance(&b->wheel, sb_now_ms() / TICK_MS);
	sb_wheel_add(&b->wheel, &peer->node, (when_ms + TICK_MS - 1) / TICK_MS);
}

static struct sb_adapt_conf adapt_conf(const struct builtin *b, const struct peer *peer)
{
	return (struct sb_adapt_conf){
		.beats = peer->policy.adaptive_beats,
		.min_ms = b->adaptive_min_ms,
		.max_ms = peer->policy.timeout_ms,
	};
}

/**
 * peer_limit_ms - the silence after which a peer is reported
 * @b: the session
 * @peer: the peer
 */
uint32_t peer_limit_ms(const struct builtin *b, const struct peer *peer)
{
	struct sb_adapt_conf conf = adapt_conf(b, peer);

	return conf.beats ? sb_adapt_timeout_ms(&peer->rhythm, &conf) : conf.max_ms;
}

static uint32_t suspect_ms(const struct builtin *b, const struct peer *peer)
{
	uint32_t limit_ms = peer_limit_ms(b, peer);

	if (!peer->policy.suspect_percent)
		return limit_ms;
	return (uint64_t)limit_ms * peer->policy.suspect_percent / 100;
}

/**
 * peer_arm_live - put a live peer where there is something to be seen of it first
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 */
void peer_arm_live(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	struct sb_adapt_conf conf = adapt_conf(b, peer);
	uint64_t look_ms, when_ms;

	when_ms = peer->heard_ms + (peer->suspect ? peer_limit_ms(b, peer) : suspect_ms(b, peer));
	if (conf.beats) {
		look_ms = sb_adapt_look_ms(&peer->rhythm, &conf, peer->heard_ms, now_ms);
		if (look_ms < when_ms)
			when_ms = look_ms;
	}
	peer_arm(b, peer, when_ms);
}

/**
 * peer_again_ms - when a peer whose silence was told is to be looked at again
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 */
uint64_t peer_again_ms(const struct builtin *b, const struct peer *peer, uint64_t now_ms)
{
	return now_ms + (peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL ?
			 peer->policy.renotify_ms : peer_limit_ms(b, peer));
}

/**
 * peer_await - have a peer that is not live looked at
 * @b: the session
 * @peer: the peer
 * @when_ms: when the caller is to be told again, UINT64_MAX for never
 * @now_ms: sb_now_ms()
 */
void peer_await(struct builtin *b, struct peer *peer, uint64_t when_ms, uint64_t now_ms)
{
	uint64_t due_ms = UINT64_MAX;

	if (peer->state == SOCKBEAT_STATE_SILENT)
		due_ms = act_due_ms(b, peer, now_ms);
	if (due_ms < when_ms)
		when_ms = due_ms;
	if (when_ms != UINT64_MAX)
		peer_arm(b, peer, when_ms);
	else if (sb_wheel_armed(&peer->node))
		sb_wheel_del(&b->wheel, &peer->node);
}

static int get_option(int fd, int level, int option, void *value, socklen_t size)
{
	socklen_t got = size;

	memset(value, 0, size);
	return getsockopt(fd, level, option, value, &got) ? -errno : 0;
}

/* Whether a socket is at its end: closed, or shut in both directions, as the
 * module sees it.  The two states that may be either are asked further.
 */
static bool is_ended(int fd, unsigned int tcp_state)
{
	struct pollfd hup = { .fd = fd };

	switch (tcp_state) {
	case TCP_CLOSE:
	case TCP_TIME_WAIT:
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return true;
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		return poll(&hup, 1, 0) == 1 && (hup.revents & POLLHUP);
	default:
		return false;
	}
}

/**
 * peer_check_socket - whether a socket can be tracked
 * @fd: any number
 * @cookie: set to the socket's
 * @why: set to a reason for users on failure
 *
 * Return: 0 or a negative errno.
 */
int peer_check_socket(int fd, uint64_t *cookie, const char **why)
{
	int domain, protocol, err;
	struct tcp_info info;

	err = get_option(fd, SOL_SOCKET, SO_DOMAIN, &domain, sizeof(domain));
	if (err) {
		*why = err == -EBADF ? "fd is not open" : "fd is not a socket";
		return err;
	}
	err = get_option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, sizeof(protocol));
	if (err || protocol != IPPROTO_TCP || (domain != AF_INET && domain != AF_INET6)) {
		*why = "socket is not a TCP socket";
		return -EPROTONOSUPPORT;
	}
	err = get_option(fd, IPPROTO_TCP, TCP_INFO, &info, sizeof(info));
	if (!err)
		err = get_option(fd, SOL_SOCKET, SO_COOKIE, cookie, sizeof(*cookie));
	if (err) {
		*why = "TCP_INFO or SO_COOKIE cannot be read";
		return err;
	}
	if (info.tcpi_state == TCP_LISTEN) {
		*why = "socket is listening";
		return -EINVAL;
	}
	if (info.tcpi_state == TCP_SYN_SENT || is_ended(fd, info.tcpi_state)) {
		*why = "socket is not connected";
		return -ENOTCONN;
	}
	return 0;
}

static uint32_t *state_count(struct builtin *b, enum sockbeat_state state)
{
	uint32_t *const count[] = {
		[SOCKBEAT_STATE_LIVE] = &b->stats.live,
		[SOCKBEAT_STATE_SILENT] = &b->stats.silent,
		[SOCKBEAT_STATE_GONE] = &b->stats.gone,
		[SOCKBEAT_STATE_RECYCLING] = &b->stats.recycling,
	};

	return count[state];
}

/**
 * peer_become - change a peer's state
 * @b: the session
 * @peer: the peer
 * @state: its new state
 */
void peer_become(struct builtin *b, struct peer *peer, enum sockbeat_state state)
{
	--*state_count(b, peer->state);
	++*state_count(b, state);
	peer->state = state;
}

/**
 * peer_let_go - take a peer off the wheel and its socket from it
 * @b: the session
 * @peer: the peer
 */
void peer_let_go(struct builtin *b, struct peer *peer)
{
	if (sb_wheel_armed(&peer->node))
		sb_wheel_del(&b->wheel, &peer->node);
	if (has_socket(peer))
		cookie_remove(b, peer);
}

/**
 * peer_leave - free a peer's slot
 * @b: the session
 * @peer: a peer that was let go
 */
void peer_leave(struct builtin *b, struct peer *peer)
{
	ready_drop(b, peer);
	--*state_count(b, peer->state);
	slot_release(b, peer);
}

/**
 * peer_gone - a peer's socket has come to its end
 * @b: the session
 * @peer: a peer that has one
 */
void peer_gone(struct builtin *b, struct peer *peer)
{
	peer_let_go(b, peer);
	peer_become(b, peer, SOCKBEAT_STATE_GONE);
	peer->tcp_state = TCP_CLOSE;
	b->stats.sockets_gone++;
	ready_push(b, peer, TELL_GONE);
}

/* TCP says how long ago the last payload came, in its own grain: the answer
 * is off by up to one jiffy either way.  One is added so that a peer is never
 * called silent early, and another because a change by less than that is no
 * news: without payload two looks must not differ.
 *
 * A socket that never received payload counts from its handshake, which is
 * older than @heard_ms from the time of the add.
 */
static void heard_payload(const struct builtin *b, struct peer *peer, uint32_t ago_ms,
			  uint64_t now_ms)
{
	uint64_t grain_ms = b->jiffy_ms;
	/* In 32 bits as TCP's answer is: right even when that has wrapped. */
	uint32_t later_ms = (uint32_t)now_ms + 2 * grain_ms - ago_ms - (uint32_t)peer->heard_ms;

	if (later_ms > grain_ms && later_ms <= now_ms + 2 * grain_ms - peer->heard_ms)
		peer->heard_ms += later_ms;
}

/**
 * peer_has_fd - whether a peer's descriptor still is its socket
 * @peer: the peer
 */
bool peer_has_fd(const struct peer *peer)
{
	uint64_t cookie;

	return !get_option(peer->fd, SOL_SOCKET, SO_COOKIE, &cookie, sizeof(cookie)) &&
	       cookie == peer->cookie;
}

/**
 * peer_look - ask what is known of a peer
 * @b: the session
 * @peer: a peer that is not gone; it may be afterwards
 * @now_ms: sb_now_ms()
 */
void peer_look(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	uint64_t before_ms = peer->heard_ms;
	struct tcp_info info;

	/* One look serves all who ask in the same call. */
	if (peer->looked == b->call)
		return;
	peer->looked = b->call;
	if (!peer_has_fd(peer) ||
	    get_option(peer->fd, IPPROTO_TCP, TCP_INFO, &info, sizeof(info)) ||
	    is_ended(peer->fd, info.tcpi_state)) {
		peer_gone(b, peer);
		return;
	}
	peer->tcp_state = info.tcpi_state;
	if (peer->policy.source != SOCKBEAT_SOURCE_BEAT)
		heard_payload(b, peer, info.tcpi_last_data_recv, now_ms);
	if (peer->policy.source != SOCKBEAT_SOURCE_ACTIVITY && peer->beat_ms > peer->heard_ms)
		peer->heard_ms = peer->beat_ms;
	if (peer->policy.adaptive_beats && peer->heard_ms != before_ms) {
		struct sb_adapt_conf conf = adapt_conf(b, peer);

		sb_adapt_heard(&peer->rhythm, &conf, peer->heard_ms - before_ms);
	}
}

static bool is_silent(const struct builtin *b, const struct peer *peer, uint64_t now_ms)
{
	return idle_ms(peer, now_ms) >= peer_limit_ms(b, peer);
}

/* Who was never told of a silence is not told of its end either. */
static void tell_heard(struct builtin *b, struct peer *peer)
{
	if (peer->told)
		ready_push(b, peer, TELL_HEARD);
	else
		ready_drop(b, peer);
}

/**
 * peer_revive - make a silent peer live again if it has been heard
 * @b: the session
 * @peer: a silent peer that was looked at
 * @now_ms: sb_now_ms()
 *
 * Return: whether it was.
 */
bool peer_revive(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (is_silent(b, peer, now_ms))
		return false;
	peer_become(b, peer, SOCKBEAT_STATE_LIVE);
	b->stats.recoveries++;
	tell_heard(b, peer);
	peer_arm_live(b, peer, now_ms);
	return true;
}

/**
 * peer_clear - take the suspicion from a live peer if it has been heard
 * @b: the session
 * @peer: a suspect peer that was looked at
 * @now_ms: sb_now_ms()
 *
 * Return: whether it was.
 */
bool peer_clear(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (peer->policy.suspect_percent && idle_ms(peer, now_ms) >= suspect_ms(b, peer))
		return false;
	peer->suspect = false;
	tell_heard(b, peer);
	/* For the next warning. */
	peer_arm_live(b, peer, now_ms);
	return true;
}

static void check_live(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (!is_silent(b, peer, now_ms)) {
		if (peer->suspect) {
			peer_clear(b, peer, now_ms);
		} else if (idle_ms(peer, now_ms) >= suspect_ms(b, peer)) {
			peer->suspect = true;
			b->stats.suspects++;
			/* That it was heard before comes first. */
			if (peer->pending != TELL_HEARD)
				ready_push(b, peer, TELL_SUSPECT);
		}
		peer_arm_live(b, peer, now_ms);
		return;
	}
	peer_become(b, peer, SOCKBEAT_STATE_SILENT);
	peer->suspect = false;
	b->stats.silences++;
	act_silence(b, peer, now_ms);
	ready_push(b, peer, TELL_SILENT);
	if (!act_check(b, peer, now_ms))
		peer_await(b, peer, UINT64_MAX, now_ms);
}

static void check_silent(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (peer_revive(b, peer, now_ms) || act_check(b, peer, now_ms))
		return;
	if (peer->pending == TELL_NOTHING && peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL)
		ready_push(b, peer, TELL_SILENT);
	peer_await(b, peer, peer->pending == TELL_NOTHING ? peer_again_ms(b, peer, now_ms) :
							    UINT64_MAX, now_ms);
}

/**
 * peer_check - look at a peer whose bucket has come due
 * @b: the session
 * @peer: a peer that is on no bucket now
 * @now_ms: sb_now_ms()
 */
void peer_check(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (has_socket(peer)) {
		peer_look(b, peer, now_ms);
		if (!has_socket(peer))
			return;
	}
	switch (peer->state) {
	case SOCKBEAT_STATE_LIVE:
		check_live(b, peer, now_ms);
		break;
	case SOCKBEAT_STATE_SILENT:
		check_silent(b, peer, now_ms);
		break;
	case SOCKBEAT_STATE_GONE:
		ready_push(b, peer, TELL_GONE);
		break;
	case SOCKBEAT_STATE_RECYCLING:
		recycle_check(b, peer, now_ms);
		break;
	}
}
