/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the kernel engine share: engine_kernel.c (session and
 * events), kernel_peer.c (requests on peers).
 */
#ifndef SOCKBEAT_KERNEL_H
#define SOCKBEAT_KERNEL_H

#include <linux/sockbeat_slots.h>

#include "channel.h"
#include "engine.h"

/**
 * struct kernel - the engine's session
 * @family: number of the netlink family
 * @id: the session's name in events
 * @clock_offset_ms: from our clock to the one that stamps are compared with
 * @slots: the slot page
 * @slots_bytes: its length
 * @event_error: error to return when the events before it have been taken
 * @message: event message that is being taken
 * @message_left: bytes of the datagram from there on
 * @attr: attribute of it that comes next
 * @attr_left: bytes of the message from there on
 * @requests: for requests
 * @events: for events
 */
struct kernel {
	uint16_t family;
	uint32_t id;
	int64_t clock_offset_ms;
	struct sockbeat_slot *slots;
	size_t slots_bytes;
	int event_error;
	const struct nlmsghdr *message;
	int message_left;
	const struct nlattr *attr;
	int attr_left;
	struct channel requests;
	struct channel events;
};

/* engine_kernel.c */
int kernel_fail(struct sockbeat *sb, const char *what, const struct channel *ch, int err);
struct nlmsghdr *kernel_request(struct sockbeat *sb, struct channel *ch, uint8_t cmd,
				uint16_t flags);

/* kernel_peer.c */
int kernel_add(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
int kernel_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
int kernel_del(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
int kernel_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		   const struct sb_retire *how);
int kernel_extend(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n, uint32_t delay_ms);
int kernel_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info);
int kernel_list(struct sockbeat *sb, uint32_t states,
		int (*cb)(const struct sockbeat_info *info, void *arg), void *arg);

#endif /* SOCKBEAT_KERNEL_H */
