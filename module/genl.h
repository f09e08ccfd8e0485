/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	uapi/sockbeat.yaml */
/* YNL-GEN kernel header */

#ifndef _LINUX_SOCKBEAT_GEN_H
#define _LINUX_SOCKBEAT_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/sockbeat.h>

/* Common nested types */
extern const struct nla_policy sockbeat_filter_nl_policy[SOCKBEAT_A_FILTER_PAD + 1];
extern const struct nla_policy sockbeat_pattern_nl_policy[SOCKBEAT_A_PATTERN_ANSWERS_PROBE + 1];
extern const struct nla_policy sockbeat_peer_nl_policy[SOCKBEAT_A_PEER_SUSPECT + 1];
extern const struct nla_policy sockbeat_profile_nl_policy[SOCKBEAT_A_PROFILE_PATTERN + 1];

/* Ops table for sockbeat */
extern const struct genl_split_ops sockbeat_nl_ops[15];

int sockbeat_nl_peer_get_start(struct netlink_callback *cb);
int sockbeat_nl_peer_get_done(struct netlink_callback *cb);

int sockbeat_nl_session_new_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_session_get_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_session_get_dumpit(struct sk_buff *skb,
				   struct netlink_callback *cb);
int sockbeat_nl_session_set_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_session_bind_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_add_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_set_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_del_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_recycle_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_recycle_extend_doit(struct sk_buff *skb,
				    struct genl_info *info);
int sockbeat_nl_peer_get_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb);
int sockbeat_nl_profile_set_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_profile_del_doit(struct sk_buff *skb, struct genl_info *info);
int sockbeat_nl_peer_end_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	SOCKBEAT_NLGRP_MONITOR,
};

#endif /* _LINUX_SOCKBEAT_GEN_H */
