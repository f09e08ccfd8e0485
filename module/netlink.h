/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What netlink.c (sessions), netlink_peer.c (peers) and message.c (filling
 * in attributes) share.
 */
#ifndef _SOCKBEAT_NETLINK_H
#define _SOCKBEAT_NETLINK_H

#include <net/genetlink.h>

#include "genl.h"
#include "sockbeat.h"

/**
 * struct sb_entry - one peer of a batch
 * @attr: where the request names it, for error messages
 * @peer: the peer; peer-add: until it is tracked
 * @sk: peer-del and peer-recycle: the socket, to be put when the lock is
 *	dropped
 * @handle: the peer's handle; peer-add: 0 until it is tracked
 * @offload: peer-set: one that the peer may need, until it has it
 * @is_offloaded: peer-set: the peer has it
 * @fd: peer-add: the socket's descriptor
 * @conf: settings
 */
struct sb_entry {
	const struct nlattr *attr;
	struct sb_peer *peer;
	struct sock *sk;
	struct sb_offload *offload;
	u64 handle;
	int fd;
	bool is_offloaded;
	struct sb_peer_conf conf;
};

/**
 * struct sb_request - what the requests on a session have in common
 * @file: the session's file, held
 * @session: the session
 * @n: number of @entry
 * @entry: the batch
 */
struct sb_request {
	struct file *file;
	struct sb_session *session;
	unsigned int n;
	struct sb_entry *entry;
};

/**
 * struct sb_addr - one end of a connection
 * @bytes: address in network byte order
 * @len: its length, 4 or 16
 * @port: port
 */
struct sb_addr {
	u8 bytes[16];
	u32 len;
	u32 port;
};

extern struct genl_family sb_family;

/* message.c */
int sb_put_session(struct sk_buff *skb, const struct sb_session *session);
bool sb_put_peer_msg(struct sk_buff *skb, void *header, struct sb_peer *peer);

/* netlink.c */
void sb_extack(struct netlink_ext_ack *extack, const struct nlattr *attr,
	       const char *why);
struct file *sb_session_find(struct sk_buff *skb, u32 id);
bool sb_session_visible(struct sk_buff *skb, const struct sb_session *session);
struct file *sb_session_file(struct sk_buff *skb, const struct nlmsghdr *nlh,
			     struct netlink_ext_ack *extack);
bool sb_request_is_last(const struct sk_buff *skb, const struct nlmsghdr *nlh);
bool sb_dump_may_run(struct netlink_callback *cb);
int sb_request_begin(struct sb_request *req, struct sk_buff *skb,
		     struct genl_info *info, unsigned long key,
		     unsigned long allowed);
void sb_request_end(struct sb_request *req);
void sb_request_kick(struct sb_session *session);
struct sk_buff *sb_reply_new(struct genl_info *info, size_t payload,
			     void **header);

/* netlink_dump.c */
void sb_sock_addrs(const struct sock *sk, struct sb_addr *local, struct sb_addr *remote);

/* netlink_peer.c */
#define SB_KEY_FD	BIT(SOCKBEAT_A_PEER_FD)
#define SB_KEY_HANDLE	BIT(SOCKBEAT_A_PEER_HANDLE)
#define SB_TRACKED	(BIT(SOCKBEAT_STATE_LIVE) | BIT(SOCKBEAT_STATE_SILENT) | \
			 BIT(SOCKBEAT_STATE_GONE))
#define SB_RECYCLING	BIT(SOCKBEAT_STATE_RECYCLING)

int sb_request_entries(struct sb_request *req, struct genl_info *info,
		       unsigned long key, unsigned long allowed);
int sb_request_mark(struct sb_request *req, unsigned long states,
		    struct netlink_ext_ack *extack);

#endif /* _SOCKBEAT_NETLINK_H */
