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
 * @rx: bytes of the connection, modulo 2^32 and counted from peer-add on, that
 *	the application has read and is done with: up to the end of a frame,
 *	and up to where all that had to be answered was written or is counted
 *	in @tx
 * @tx: bytes that the application has written or still has to write, up to the
 *	end of a frame
 * @generation: upper half of the handle of the peer that @rx and @tx are about;
 *		0 is nobody's
 * @reserved: write 0
 *
 * The record of slot i lies at offset i * sizeof(struct sockbeat_slot) of the
 * mapping, which is as long as the session's capacity needs.  The kernel reads
 * it as a hint whenever a peer's bucket comes due: a stamp in the future is
 * ignored and counted.  peer-add clears the record.
 *
 * Only where @rx and @tx are exactly what TCP has handed out and taken in may
 * the kernel answer a heartbeat in the application's place; bytes that the
 * kernel itself took or sent count in neither.  Write @tx before @rx, and both
 * before @generation, each with release semantics; the kernel reads them in the
 * opposite order.
 */
struct sockbeat_slot {
	__u64 beat_ms;
	__u32 rx;
	__u32 tx;
	__u32 generation;
	__u32 reserved[3];
};

#endif /* _UAPI_LINUX_SOCKBEAT_SLOTS_H */
