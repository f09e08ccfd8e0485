// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a peer on the builtin engine.
 *
 *   state      on the wheel until          on the ready list
 *   ---------  --------------------------  --------------------------------
 *   LIVE       its earliest expiry         only to tell HEARD
 *   SILENT     the next look, once told    until told
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

static void gone(struct builtin *b, struct peer *peer)
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
	struct tcp_info info;

	/* One look serves all who ask in the same call. */
	if (peer->looked == b->call)
		return;
	peer->looked = b->call;
	if (!peer_has_fd(peer) ||
	    get_option(peer->fd, IPPROTO_TCP, TCP_INFO, &info, sizeof(info)) ||
	    is_ended(peer->fd, info.tcpi_state)) {
		gone(b, peer);
		return;
	}
	peer->tcp_state = info.tcpi_state;
	if (peer->source != SOCKBEAT_SOURCE_BEAT)
		heard_payload(b, peer, info.tcpi_last_data_recv, now_ms);
	if (peer->source != SOCKBEAT_SOURCE_ACTIVITY && peer->beat_ms > peer->heard_ms)
		peer->heard_ms = peer->beat_ms;
}

static bool is_silent(const struct peer *peer, uint64_t now_ms)
{
	return idle_ms(peer, now_ms) >= peer->timeout_ms;
}

/**
 * peer_revive - make a silent peer live again if it has been heard
 * @b: the session
 * @peer: a silent peer that was looked at
 * @now_ms: sb_now_ms()
 *
 * Who was never told of the silence is not told of its end either.
 *
 * Return: whether it was.
 */
bool peer_revive(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (is_silent(peer, now_ms))
		return false;
	peer_become(b, peer, SOCKBEAT_STATE_LIVE);
	b->stats.recoveries++;
	if (peer->told)
		ready_push(b, peer, TELL_HEARD);
	else
		ready_drop(b, peer);
	peer_arm(b, peer, peer->heard_ms + peer->timeout_ms);
	return true;
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
		if (!is_silent(peer, now_ms)) {
			peer_arm(b, peer, peer->heard_ms + peer->timeout_ms);
			break;
		}
		peer_become(b, peer, SOCKBEAT_STATE_SILENT);
		b->stats.silences++;
		ready_push(b, peer, TELL_SILENT);
		break;
	case SOCKBEAT_STATE_SILENT:
		if (peer_revive(b, peer, now_ms))
			break;
		if (peer->trigger == SOCKBEAT_TRIGGER_LEVEL)
			ready_push(b, peer, TELL_SILENT);
		else
			peer_arm(b, peer, now_ms + peer->timeout_ms);
		break;
	case SOCKBEAT_STATE_GONE:
		ready_push(b, peer, TELL_GONE);
		break;
	case SOCKBEAT_STATE_RECYCLING:
		recycle_check(b, peer, now_ms);
		break;
	}
}
