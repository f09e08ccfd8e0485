/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What servers are measured by: the tightest loop that answers at all.
 */
#ifndef SELFTESTS_BENCH_TIGHT_H
#define SELFTESTS_BENCH_TIGHT_H

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Answers anything with itself and does nothing else at all. Edge triggers spare
 * epoll a second look at each socket; recv() and send() are shorter ways into
 * TCP than read() and write(). No limit, no check, not even a thought of what
 * becomes of an answer that send() does not take.
 */
static inline void tight_loop(int listen_fd)
{
	struct epoll_event events[512], event = { .events = EPOLLIN, .data.fd = listen_fd };
	static char buf[65536];
	int epoll_fd = epoll_create1(0);

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 512, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			ssize_t len;

			if (fd == listen_fd) {
				event.data.fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
				event.events = EPOLLIN | EPOLLET;
				epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event);
				continue;
			}
			len = recv(fd, buf, sizeof(buf), 0);
			if (len <= 0 || send(fd, buf, len, 0) < 0)
				close(fd);
		}
	}
}

#endif /* SELFTESTS_BENCH_TIGHT_H */
