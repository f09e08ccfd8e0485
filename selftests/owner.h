/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread that owns a socket's lock for as long as the test wants: it sends
 * from a page that userfaultfd does not provide.
 */
#ifndef SELFTESTS_OWNER_H
#define SELFTESTS_OWNER_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct owner {
	int sock;
	int uffd;
	char *page;
	long size;
	pthread_t thread;
};

static inline void *owner_send(void *arg)
{
	struct owner *owner = arg;

	send(owner->sock, owner->page, 1, MSG_NOSIGNAL);
	return NULL;
}

/* 0 when the socket is owned; -1 where userfaultfd cannot be had. */
static inline int owner_start(struct owner *owner, int sock)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffd_msg msg;

	owner->sock = sock;
	owner->size = sysconf(_SC_PAGESIZE);
	owner->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (owner->uffd < 0 || ioctl(owner->uffd, UFFDIO_API, &api))
		return -1;
	owner->page = mmap(NULL, owner->size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)owner->page;
	reg.range.len = owner->size;
	if (owner->page == MAP_FAILED || ioctl(owner->uffd, UFFDIO_REGISTER, &reg) ||
	    pthread_create(&owner->thread, NULL, owner_send, owner))
		return -1;
	return read(owner->uffd, &msg, sizeof(msg)) == sizeof(msg) ? 0 : -1;
}

static inline void owner_stop(struct owner *owner)
{
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)owner->page, owner->size },
	};

	ioctl(owner->uffd, UFFDIO_ZEROPAGE, &zero);
	pthread_join(owner->thread, NULL);
	close(owner->uffd);
	munmap(owner->page, owner->size);
}

#endif /* SELFTESTS_OWNER_H */
