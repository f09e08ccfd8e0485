/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP connections for tests, in this network namespace or between two that a
 * veth pair joins.
 */
#ifndef SELFTESTS_TCP_H
#define SELFTESTS_TCP_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
	int server;	/* the accepted end */
	int client;
};

union tcp_address {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Its length. */
static inline socklen_t tcp_address(union tcp_address *to, int family, const char *addr,
				    uint16_t port)
{
	memset(to, 0, sizeof(*to));
	to->sa.sa_family = family;
	if (family == AF_INET) {
		inet_pton(family, addr, &to->v4.sin_addr);
		to->v4.sin_port = htons(port);
		return sizeof(to->v4);
	}
	inet_pton(family, addr, &to->v6.sin6_addr);
	to->v6.sin6_port = htons(port);
	return sizeof(to->v6);
}

static inline int tcp_listen(int family, const char *addr, uint16_t *port)
{
	union tcp_address sa;
	socklen_t len = tcp_address(&sa, family, addr, 0);
	int one = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, &sa.sa, len) || listen(fd, 4096) ||
	    getsockname(fd, &sa.sa, &len)) {
		close(fd);
		return -1;
	}
	*port = ntohs(family == AF_INET ? sa.v4.sin_port : sa.v6.sin6_port);
	return fd;
}

/* @from: an address of this host, or NULL */
static inline int tcp_connect_from(int family, const char *from, const char *addr, uint16_t port)
{
	union tcp_address local, remote;
	socklen_t len = tcp_address(&remote, family, addr, port);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (from)
		tcp_address(&local, family, from, 0);
	if (fd >= 0 && ((from && bind(fd, &local.sa, len)) || connect(fd, &remote.sa, len))) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int tcp_connect(int family, const char *addr, uint16_t port)
{
	return tcp_connect_from(family, NULL, addr, port);
}

/* Bytes that the other end's TCP has not acknowledged. */
static inline int tcp_unacked(int fd)
{
	int bytes = -1;

	ioctl(fd, SIOCOUTQ, &bytes);
	return bytes;
}

/* Loopback connections; 0 on success. */
static inline int tcp_pairs(int family, struct pair *pairs, int n)
{
	const char *addr = family == AF_INET ? "127.0.0.1" : "::1";
	uint16_t port;
	int i, fd = tcp_listen(family, addr, &port);

	if (fd < 0)
		return -1;
	for (i = 0; i < n; i++) {
		pairs[i].client = tcp_connect(family, addr, port);
		pairs[i].server = pairs[i].client < 0 ? -1 :
				  accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (pairs[i].server < 0)
			break;
	}
	close(fd);
	return i == n ? 0 : -1;
}

static inline int tcp_pair(struct pair *p)
{
	return tcp_pairs(AF_INET, p, 1);
}

static inline void tcp_pair_close(struct pair *p)
{
	close(p->server);
	close(p->client);
}

/* Close with a reset. */
static inline void tcp_abort(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* A descriptor to another process and from one. */
static inline int send_fd(int sock, int fd)
{
	char ctl[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = ctl, .msg_controllen = sizeof(ctl) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

static inline int recv_fd(int sock)
{
	char ctl[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = ctl, .msg_controllen = sizeof(ctl) };
	int fd = -1;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* Run a command; its exit status. */
static inline int sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

/* Enter a fresh network namespace with lo up; the old one as an fd. */
static inline int netns_new(void)
{
	int old = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (old < 0 || unshare(CLONE_NEWNET) || sh("ip link set lo up"))
		return -1;
	return old;
}

static inline int netns_enter(int fd)
{
	return setns(fd, CLONE_NEWNET);
}

/* As TCP has it, or 0 for none. */
static inline int tcp_state(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len);
	return info.tcpi_state;
}

#endif /* SELFTESTS_TCP_H */
