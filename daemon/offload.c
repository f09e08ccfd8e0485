// SPDX-License-Identifier: BSD-3-Clause
/*
 * Heartbeat offload: profiles, and where the application stands.
 *
 * The kernel compares two numbers of each slot record with what TCP has handed
 * out and taken in, see linux/sockbeat_slots.h.  Here they come from plain
 * counts of bytes: rx is what was read less what is not done with, tx is what
 * was written and what still has to be.  A count that is missing makes the
 * numbers differ from then on, and the kernel leaves that connection alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel.h"

/**
 * sb_offload_check_peer - check what a request says of a peer's offload
 * @sb: the session
 * @what: names the request and its entry
 * @peer: the entry
 *
 * Return: 0 or a negative errno.
 */
int sb_offload_check_peer(struct sockbeat *sb, const char *what,
			  const struct sockbeat_peer *peer)
{
	bool builtin = sb->engine->kind == SOCKBEAT_ENGINE_BUILTIN;
	int err = 0;

	if (peer->mask & SOCKBEAT_PEER_PROFILE)
		err = sb_check_range(sb, what, "profile", peer->profile, 0, SOCKBEAT_MAX_PROFILES);
	if (!err && (peer->mask & SOCKBEAT_PEER_PROBE))
		err = sb_check_range(sb, what, "probe_after_ms", peer->probe_after_ms, 0,
				     SOCKBEAT_MAX_TIMEOUT_MS);
	/* The rest is the kernel's to say, where there is one. */
	if (err || !builtin)
		return err;
	if ((peer->mask & SOCKBEAT_PEER_PROFILE) && peer->profile && !sb->profile[peer->profile])
		return sb_fail(sb, -ENOENT, "%s: profile %" PRIu32 ": session has no such profile",
			       what, peer->profile);
	if ((peer->mask & SOCKBEAT_PEER_PROBE) && peer->probe_after_ms)
		return sb_fail(sb, -EOPNOTSUPP,
			       "%s: probe_after_ms %" PRIu32 ": the builtin engine sends no probes",
			       what, peer->probe_after_ms);
	return 0;
}

/**
 * sb_offload_close - forget a session's profiles
 * @sb: the session
 */
void sb_offload_close(struct sockbeat *sb)
{
	for (size_t i = 0; i <= SOCKBEAT_MAX_PROFILES; i++)
		free(sb->profile[i]);
}

/* Lengths that do not fit are made ones that sb_profile_check() refuses. */
static uint8_t frame_len(size_t len)
{
	return len > SOCKBEAT_MAX_FRAME_BYTES ? UINT8_MAX : len;
}

static void copy_frame(uint8_t *to, const void *from, uint8_t len)
{
	if (from && len <= SOCKBEAT_MAX_FRAME_BYTES)
		memcpy(to, from, len);
}

static void convert_pattern(struct sb_pattern *to, const struct sockbeat_pattern *from)
{
	to->len = from->value ? frame_len(from->len) : 0;
	to->reply_len = from->reply ? frame_len(from->reply_len) : 0;
	to->copy_from = frame_len(from->copy_from);
	to->copy_to = frame_len(from->copy_to);
	to->copy_bytes = frame_len(from->copy_bytes);
	to->answers_probe = from->answers_probe;
	copy_frame(to->value, from->value, to->len);
	copy_frame(to->reply, from->reply, to->reply_len);
	memset(to->mask, 0xff, sizeof(to->mask));
	copy_frame(to->mask, from->mask, to->len);
	for (size_t i = 0; i < sizeof(to->value); i++)
		to->value[i] &= to->mask[i];
}

static void convert(struct sb_profile *to, const struct sockbeat_profile *from)
{
	memset(to, 0, sizeof(*to));
	to->min_interval_ms = from->min_interval_ms;
	to->n_patterns = from->n_patterns > UINT8_MAX ? UINT8_MAX : from->n_patterns;
	to->probe_len = from->probe ? frame_len(from->probe_len) : 0;
	copy_frame(to->probe, from->probe, to->probe_len);
	for (size_t i = 0; i < from->n_patterns && from->n_patterns <= SOCKBEAT_MAX_PATTERNS; i++)
		convert_pattern(&to->pattern[i], &from->patterns[i]);
}

/**
 * sockbeat_profile_set - register a profile, or replace one
 * @sb: the session
 * @id: what peers name it by, 1 .. SOCKBEAT_MAX_PROFILES
 * @profile: the profile, copied
 *
 * Peers that use the one that is replaced use the new one from then on.
 *
 * Return: 0 or a negative errno.
 */
int sockbeat_profile_set(struct sockbeat *sb, uint32_t id, const struct sockbeat_profile *profile)
{
	struct sb_profile *new;
	const char *why;
	int err;

	sb_begin_call(sb);
	err = sb_check_range(sb, "profile-set", "id", id, 1, SOCKBEAT_MAX_PROFILES);
	if (!err)
		err = sb_check_range(sb, "profile-set", "min_interval_ms", profile->min_interval_ms,
				     0, SOCKBEAT_MAX_TIMEOUT_MS);
	if (err)
		return err;
	new = malloc(sizeof(*new));
	if (!new)
		return sb_fail(sb, -ENOMEM, "profile-set: no memory");
	convert(new, profile);
	why = sb_profile_check(new);
	if (why)
		err = sb_fail(sb, -EINVAL, "profile-set: profile %" PRIu32 ": %s", id, why);
	else if (sb->engine->profile)
		err = sb->engine->profile(sb, id, new);
	if (err) {
		free(new);
		return err;
	}
	free(sb->profile[id]);
	sb->profile[id] = new;
	return 0;
}

/**
 * sockbeat_profile_del - forget a profile
 * @sb: the session
 * @id: which
 *
 * The heartbeats of peers that use it go to the application from then on.
 *
 * Return: 0 or a negative errno, -ENOENT where there is no such profile.
 */
int sockbeat_profile_del(struct sockbeat *sb, uint32_t id)
{
	int err;

	sb_begin_call(sb);
	err = sb_check_range(sb, "profile-del", "id", id, 1, SOCKBEAT_MAX_PROFILES);
	if (!err && sb->engine->profile)
		err = sb->engine->profile(sb, id, NULL);
	else if (!err && !sb->profile[id])
		err = sb_fail(sb, -ENOENT, "profile-del: profile %" PRIu32
			      ": session has no such profile", id);
	if (err)
		return err;
	free(sb->profile[id]);
	sb->profile[id] = NULL;
	return 0;
}

/**
 * sockbeat_profile_match - look for a heartbeat, and make its answer
 * @sb: the session
 * @id: a profile that was set in this process
 * @data: bytes received, from a frame boundary on
 * @len: how many, at least 1
 * @reply: the answer, room for SOCKBEAT_MAX_FRAME_BYTES
 * @reply_len: set to its length, 0 for none
 *
 * For applications that have no other use for a heartbeat than to answer it
 * as the kernel would have done; answers to probes of the kernel's are found
 * too.  Makes no system call.
 *
 * Return: the frame's length; 0 where something else begins there; -EAGAIN
 * where a heartbeat does of which the end is missing; -ENOENT for no such
 * profile.
 */
int sockbeat_profile_match(struct sockbeat *sb, uint32_t id, const void *data, size_t len,
			   void *reply, size_t *reply_len)
{
	const struct sb_pattern *pattern = NULL;
	enum sb_match_kind kind;

	sb_begin_call(sb);
	*reply_len = 0;
	if (!id || id > SOCKBEAT_MAX_PROFILES || !sb->profile[id])
		return sb_fail(sb, -ENOENT, "profile %" PRIu32 ": session has no such profile", id);
	/* What may be either is a heartbeat: that has to be answered. */
	kind = sb_match_first(sb->profile[id], data, len, false, &pattern);
	if (kind == SB_MATCH_DATA)
		kind = sb_match_first(sb->profile[id], data, len, true, &pattern);
	switch (kind) {
	case SB_MATCH_HEARTBEATS:
		sb_pattern_reply(pattern, data, reply);
		*reply_len = pattern->reply_len;
		return pattern->len;
	case SB_MATCH_PARTIAL:
		return -EAGAIN;
	case SB_MATCH_DATA:
		break;
	}
	return 0;
}

/* Positions. */

static void publish(const struct sockbeat_conn *conn)
{
	struct sockbeat *sb = conn->sb;

	if (sb->engine->position && sb_refs_tracked(sb, conn->handle))
		sb->engine->position(sb, conn->handle, conn->read - conn->undone,
				     conn->written + conn->unsent);
}

/**
 * sockbeat_conn_begin - begin to count a connection's bytes
 * @sb: the session
 * @conn: the connection
 * @handle: its peer
 *
 * To be called after sockbeat_add() and before anything else is read or
 * written.  What was before that has to be done with: no part of a frame is
 * left, on either side.
 */
void sockbeat_conn_begin(struct sockbeat *sb, struct sockbeat_conn *conn, uint64_t handle)
{
	memset(conn, 0, sizeof(*conn));
	conn->sb = sb;
	conn->handle = handle;
	publish(conn);
}

/**
 * sockbeat_conn_count - count bytes that were not read or written by the
 *			 wrappers
 * @conn: the connection
 * @read: bytes read from the socket
 * @written: bytes written to it
 *
 * Before sockbeat_conn_done() for them.
 */
void sockbeat_conn_count(struct sockbeat_conn *conn, size_t read, size_t written)
{
	conn->read += read;
	conn->undone += read;
	conn->written += written;
	conn->unsent = conn->unsent > written ? conn->unsent - written : 0;
}

/**
 * sockbeat_conn_read - receive and count
 * @conn: the connection
 * @fd: its socket, not blocking: a heartbeat that epoll told of may be gone
 * @buf: as for recv()
 * @len: as for recv()
 *
 * What is read is not done with until sockbeat_conn_done() says so.
 *
 * Return: as recv() does, with errno.
 */
ssize_t sockbeat_conn_read(struct sockbeat_conn *conn, int fd, void *buf, size_t len)
{
	ssize_t got = recv(fd, buf, len, 0);

	if (got > 0)
		sockbeat_conn_count(conn, got, 0);
	return got;
}

/**
 * sockbeat_conn_write - send and count
 * @conn: the connection
 * @fd: its socket
 * @buf: whole frames, or the rest of such that was not sent before
 * @len: length of all that is to be sent now
 *
 * What the socket had no room for is taken to be still unsent, until it is
 * given to this function again or sockbeat_conn_done() says otherwise.
 *
 * Return: as send() does, with errno.
 */
ssize_t sockbeat_conn_write(struct sockbeat_conn *conn, int fd, const void *buf, size_t len)
{
	ssize_t sent;

	/* Before the last byte is sent: the client may be quick. */
	conn->unsent = len;
	publish(conn);
	sent = send(fd, buf, len, MSG_NOSIGNAL);
	if (sent > 0)
		sockbeat_conn_count(conn, 0, sent);
	return sent;
}

/**
 * sockbeat_conn_done - say what is left to do for a connection
 * @conn: the connection
 * @undone: bytes of all that was read that are not done with: the beginning of
 *	    a frame, or frames from the first on that has to be answered before
 *	    a heartbeat behind it may be
 * @unsent: bytes of the application's output that wait in the process
 *
 * May be called before the write that @unsent is about: a client that is quick
 * then finds the kernel ready for its next heartbeat.  Two stores to memory,
 * unless the session checks positions.
 *
 * Return: 0, or what sockbeat_conn_check() says.
 */
int sockbeat_conn_done(struct sockbeat_conn *conn, size_t undone, size_t unsent)
{
	conn->undone = undone;
	conn->unsent = unsent;
	publish(conn);
	return conn->sb->check_positions ? sockbeat_conn_check(conn) : 0;
}

/* Whether the peer's FIN has come, or ours has gone, in a state of TCP. */
static bool has_end(uint8_t state, bool of_peer)
{
	switch (state) {
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		return !of_peer;
	case TCP_CLOSE_WAIT:
		return of_peer;
	default:
		return state != TCP_ESTABLISHED;
	}
}

/**
 * sockbeat_conn_check - find an application that forgot to count
 * @conn: the connection
 *
 * For debugging; asks the kernel.  Where a byte was read or written that was
 * not counted, no heartbeat of the connection is offloaded any more.
 *
 * Return: 0, also for a peer without offload; -ESTALE where bytes were not
 * counted, and sockbeat_strerror() says how many; another negative errno.
 */
int sockbeat_conn_check(const struct sockbeat_conn *conn)
{
	struct sockbeat_info info = { 0 };
	struct sockbeat *sb = conn->sb;
	int32_t rx, tx;
	int err;

	sb_begin_call(sb);
	if (!sb->engine->position)
		return 0;
	err = sb->engine->get(sb, conn->handle, &info);
	if (err || !info.profile)
		return err;
	rx = info.rx_behind - (int32_t)conn->undone;
	tx = info.tx_behind + (int32_t)conn->unsent;
	/* An end of the stream counts as a byte. */
	rx -= rx == 1 && has_end(info.tcp_state, true);
	tx -= tx == 1 && has_end(info.tcp_state, false);
	if (!rx && !tx)
		return 0;
	return sb_fail(sb, -ESTALE, "handle %#" PRIx64 ": %" PRId32 " bytes read and %" PRId32
		       " bytes written were not counted", conn->handle, rx, tx);
}

/* The kernel engine's part. */

/**
 * sb_offload_kernel_position - write where the application stands
 * @sb: a session of the kernel engine
 * @handle: the peer
 * @rx: bytes read and done with
 * @tx: bytes written or to be written
 *
 * In this order: see linux/sockbeat_slots.h.
 */
void sb_offload_kernel_position(struct sockbeat *sb, uint64_t handle, uint32_t rx, uint32_t tx)
{
	const struct kernel *k = sb->data;
	struct sockbeat_slot *slot = &k->slots[sockbeat_index(handle)];

	__atomic_store_n(&slot->tx, tx, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->rx, rx, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->generation, handle >> 32, __ATOMIC_RELEASE);
}

static void put_pattern(struct nlmsghdr *nlh, const struct sb_pattern *p)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_PROFILE_PATTERN);

	mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_VALUE, p->len, p->value);
	mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_MASK, p->len, p->mask);
	if (p->reply_len)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_REPLY, p->reply_len, p->reply);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_FROM, p->copy_from);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_TO, p->copy_to);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_BYTES, p->copy_bytes);
	if (p->answers_probe)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_ANSWERS_PROBE, 0, NULL);
	mnl_attr_nest_end(nlh, nest);
}

/**
 * sb_offload_kernel_profile - register a profile with the module, or forget one
 * @sb: a session of the kernel engine
 * @id: which
 * @profile: the profile, NULL to forget it
 *
 * Return: 0 or a negative errno.
 */
int sb_offload_kernel_profile(struct sockbeat *sb, uint32_t id, const struct sb_profile *profile)
{
	struct kernel *k = sb->data;
	struct nlmsghdr *nlh;
	struct nlattr *nest;
	int err;

	nlh = kernel_request(sb, &k->requests,
			     profile ? SOCKBEAT_CMD_PROFILE_SET : SOCKBEAT_CMD_PROFILE_DEL,
			     NLM_F_ACK);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PROFILE);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_ID, id);
	if (profile) {
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_MIN_INTERVAL_MS, profile->min_interval_ms);
		if (profile->probe_len)
			mnl_attr_put(nlh, SOCKBEAT_A_PROFILE_PROBE, profile->probe_len,
				     profile->probe);
		for (size_t i = 0; i < profile->n_patterns; i++)
			put_pattern(nlh, &profile->pattern[i]);
	}
	mnl_attr_nest_end(nlh, nest);
	err = channel_request(&k->requests, nlh, NULL, NULL);
	return err ? kernel_fail(sb, profile ? "profile-set" : "profile-del", &k->requests, err) :
		     0;
}
