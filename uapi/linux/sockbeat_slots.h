/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The slot page: what mmap() of a session's fd shows.  A netlink spec cannot
 * describe memory, so this record stands beside the generated header.
 */
#ifndef _UAPI_LINUX_SOCKBEAT_SLOTS_H
#define _UAPI_LINUX_SOCKBEAT_SLOTS_H

#include <linux/types.h>

/**
 * struct sockbeat_slot - what a process tells the kernel about one peer
 * @beat_ms: when the application last heard the peer, in milliseconds of the
 *	     clock that SOCKBEAT_A_SESSION_CLOCK_MS reads; 0 is never
 * @reserved: write 0
 *
 * The record of slot i lies at offset i * sizeof(struct sockbeat_slot) of the
 * mapping, which is as long as the session's capacity needs.  The kernel reads
 * it as a hint whenever a peer's bucket comes due: a stamp in the future is
 * ignored and counted.  peer-add clears the record.
 */
struct sockbeat_slot {
	__u64 beat_ms;
	__u64 reserved[3];
};

#endif /* _UAPI_LINUX_SOCKBEAT_SLOTS_H */
