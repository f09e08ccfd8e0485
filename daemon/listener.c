// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"
#include "reactor.h"

#define LISTEN_BACKLOG		4096
#define ACCEPT_RETRY_MS		100

/* In place of a cause to close. */
#define ADMITTED		CLOSE_CAUSE_COUNT

static int set_options(int fd, int family)
{
	static const int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) ||
	    /* Accepted sockets inherit it, which saves a call for each. */
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return -errno;
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		return -errno;
	return 0;
}

/**
 * listener_open - listen at an address together with the other reactors
 * @address: where; a port 0 is replaced by the one that the kernel chose
 *
 * Return: the descriptor or a negative errno.
 */
int listener_open(union address *address)
{
	socklen_t len = address_len(address);
	int fd, err;

	fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = set_options(fd, address->sa.sa_family);
	if (!err && (bind(fd, &address->sa, len) || listen(fd, LISTEN_BACKLOG) ||
		     getsockname(fd, &address->sa, &len)))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/**
 * listener_watch - have epoll report clients that wait to be accepted, or not
 * @r: the reactor
 * @on: which
 *
 * Return: 0 or a negative errno.
 */
int listener_watch(struct reactor *r, bool on)
{
	for (uint32_t i = 0; i < r->config->n_listen; i++) {
		struct epoll_event event = {
			.events = EPOLLIN,
			.data.u64 = REACTOR_MARK_LISTEN + i,
		};

		/* After a failure some are off already. */
		if (epoll_ctl(r->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
			      r->listen_fd[i], &event) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* What cannot be accepted stays in the backlog, where epoll would report it
 * again and again: look away until something closes.
 */
static void pause_accept(struct reactor *r, const char *why, uint64_t *counter)
{
	uint64_t now_ms = reactor_now_ms();

	/* Retries that fail again belong to the pause that was logged. */
	if (now_ms > r->accept_retry_ms + ACCEPT_RETRY_MS)
		log_warning("accept paused reactor=%u error=\"%s\" connections=%llu free_slots=%u",
			    r->index, why, (unsigned long long)r->counters.connections,
			    sockbeat_free_slots(r->sb));
	r->accept_paused = true;
	r->accept_retry_ms = now_ms + ACCEPT_RETRY_MS;
	++*counter;
	listener_watch(r, false);
}

static bool is_full(const struct reactor *r)
{
	return !sockbeat_free_slots(r->sb) ||
	       atomic_load(&r->shared->connections) >= r->config->max_connections;
}

/**
 * listener_resume - accept again after a pause, if there is one
 * @r: the reactor
 */
void listener_resume(struct reactor *r)
{
	if (!r->accept_paused || r->draining)
		return;
	if (r->config->when_full != CONFIG_FULL_WAIT || !is_full(r)) {
		if (!listener_watch(r, true)) {
			r->accept_paused = false;
			return;
		}
		/* What is watched, and not served before all are, would keep us awake. */
		listener_watch(r, false);
	}
	r->accept_retry_ms = reactor_now_ms() + ACCEPT_RETRY_MS;
}

/* Count a client that is about to come, unless there are too many: then why it
 * is refused.
 */
static enum close_cause admit(struct reactor *r, unsigned int taken)
{
	if (sockbeat_free_slots(r->sb) <= taken)
		return CLOSE_POOL_FULL;
	if (atomic_fetch_add(&r->shared->connections, 1) < r->config->max_connections)
		return ADMITTED;
	atomic_fetch_sub(&r->shared->connections, 1);
	return CLOSE_LIMIT;
}

/* The same for a client that came, by its address. */
static enum close_cause admit_from(struct reactor *r, const union address *from,
				   struct address_use **source)
{
	int err;

	*source = NULL;
	if (!r->shared->addresses.max)
		return ADMITTED;
	err = address_limit_take(&r->shared->addresses, from, source);
	if (!err)
		return ADMITTED;
	atomic_fetch_sub(&r->shared->connections, 1);
	return err == -EUSERS ? CLOSE_ADDRESS_LIMIT : CLOSE_NO_MEMORY;
}

/* accept4(), that asks for the address only where it is wanted. */
static int accept_from(struct reactor *r, int listen_fd, union address *from)
{
	bool wanted = r->shared->addresses.max;
	socklen_t len = sizeof(*from);

	return accept4(listen_fd, wanted ? &from->sa : NULL, wanted ? &len : NULL,
		       SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* What accept() says of a client that is gone again, see accept(2): errors of
 * its connection among them, which Linux hands out here.
 */
static bool is_of_client(int err)
{
	switch (err) {
	case ECONNABORTED:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case EINTR:
	case ENETDOWN:
	case ENETUNREACH:
	case ENONET:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EPROTO:
	case ETIMEDOUT:
		return true;
	}
	return false;
}

/* Whether accept() found nobody, or cannot go on for now. */
static bool accept_ended(struct reactor *r, int err)
{
	if (is_of_client(err))
		return false;
	if (err != EAGAIN)
		pause_accept(r, strerror(err), &r->counters.accept_pauses);
	return true;
}

/* Take clients off one listener into r->peers. Returns how many. */
static unsigned int take_clients(struct reactor *r, int listen_fd)
{
	bool waits = r->config->when_full == CONFIG_FULL_WAIT;
	unsigned int n = 0;

	for (unsigned int i = 0; i < r->config->accept_batch; i++) {
		enum close_cause cause = admit(r, n);
		union address from;
		int fd;

		if (cause != ADMITTED && waits) {
			/* If nobody waits behind the last one there is no need. */
			if (!n)
				pause_accept(r, cause == CLOSE_LIMIT ? "max_connections is reached" :
								       "no free slot in the pool",
					     &r->counters.full_pauses);
			break;
		}
		fd = accept_from(r, listen_fd, &from);
		if (fd < 0) {
			if (cause == ADMITTED)
				atomic_fetch_sub(&r->shared->connections, 1);
			if (accept_ended(r, errno))
				break;
			continue;
		}
		r->counters.accepted++;
		if (cause == ADMITTED)
			cause = admit_from(r, &from, &r->sources[n]);
		if (cause != ADMITTED) {
			r->counters.closed[cause]++;
			close(fd);
			continue;
		}
		r->peers[n++] = (struct sockbeat_peer){
			.fd = fd,
			.mask = (r->is_offloading ? SOCKBEAT_PEER_PROFILE | SOCKBEAT_PEER_PROBE : 0) |
				(r->acts_alone ? SOCKBEAT_PEER_ACTION : 0),
			.profile = REACTOR_PROFILE,
			.probe_after_ms = r->config->probe_after_ms,
			.action = SOCKBEAT_ACTION_NOTIFY,
		};
	}
	return n;
}

/* Close a client of the batch that was admitted. */
static void refuse(struct reactor *r, unsigned int i, enum close_cause cause)
{
	r->counters.closed[cause]++;
	atomic_fetch_sub(&r->shared->connections, 1);
	address_limit_put(&r->shared->addresses, r->sources[i]);
	close(r->peers[i].fd);
}

/* A socket whose callbacks somebody else uses is served without offload. */
static void track_plainly(struct reactor *r, struct sockbeat_peer *peer)
{
	log_warning("offload refused reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
	peer->mask = 0;
	sockbeat_add(r->sb, peer, 1);
}

static void track_clients(struct reactor *r, unsigned int n)
{
	int added = sockbeat_add(r->sb, r->peers, n);
	uint64_t now_ms = reactor_now_ms();

	for (unsigned int i = 0; added >= 0 && i < n; i++) {
		if (r->peers[i].error == -EBUSY && r->peers[i].mask)
			track_plainly(r, &r->peers[i]);
	}

	for (unsigned int i = 0; i < n; i++) {
		const struct sockbeat_peer *peer = &r->peers[i];

		if (added < 0 || peer->error) {
			/* Not connected any more: it went before we came. */
			if (added >= 0 && peer->error == -ENOTCONN) {
				refuse(r, i, CLOSE_RESET);
				continue;
			}
			if (added >= 0 && peer->error == -ENOSPC) {
				refuse(r, i, CLOSE_POOL_FULL);
				continue;
			}
			log_warning("client refused reactor=%u error=\"%s\"",
				    r->index, sockbeat_strerror(r->sb));
			refuse(r, i, CLOSE_REFUSED);
		} else if (!reactor_open(r, peer->handle, peer->fd, r->sources[i],
					 now_ms)) {
			sockbeat_del(r->sb, &peer->handle, 1);
			refuse(r, i, CLOSE_NO_MEMORY);
		}
	}
}

/**
 * listener_accept - accept a bounded number of clients from each listener that
 *		     epoll reported
 * @r: the reactor
 *
 * The next time begins behind the one that was served last: where room comes for
 * a few at a time, the clients of the first must not take all of it.
 */
void listener_accept(struct reactor *r)
{
	uint32_t first = r->listen_next;

	for (uint32_t k = 0; k < r->config->n_listen && !r->accept_paused; k++) {
		uint32_t i = (first + k) % r->config->n_listen;
		unsigned int n;

		if (!(r->listen_ready & (1U << i)))
			continue;
		n = take_clients(r, r->listen_fd[i]);
		if (!n)
			continue;
		track_clients(r, n);
		r->listen_next = i + 1;
	}
	r->listen_ready = 0;
}
