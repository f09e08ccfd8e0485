// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	uapi/sockbeat.yaml */
/* YNL-GEN kernel source */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "genl.h"

#include <uapi/linux/sockbeat.h>

/* Integer value ranges */
static const struct netlink_range_validation sockbeat_a_session_capacity_range = {
	.min	= 1ULL,
	.max	= SOCKBEAT_MAX_CAPACITY,
};

static const struct netlink_range_validation sockbeat_a_session_timeout_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_session_renotify_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_session_recycle_delay_ms_range = {
	.max	= SOCKBEAT_MAX_DELAY_MS,
};

static const struct netlink_range_validation sockbeat_a_session_act_after_ms_range = {
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_session_adaptive_min_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_session_guard_window_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_filter_local_port_range = {
	.max	= 65535ULL,
};

static const struct netlink_range_validation sockbeat_a_filter_remote_port_range = {
	.max	= 65535ULL,
};

static const struct netlink_range_validation sockbeat_a_profile_min_interval_ms_range = {
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_peer_timeout_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_peer_recycle_delay_ms_range = {
	.max	= SOCKBEAT_MAX_DELAY_MS,
};

static const struct netlink_range_validation sockbeat_a_peer_probe_after_ms_range = {
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_peer_act_after_ms_range = {
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

static const struct netlink_range_validation sockbeat_a_peer_renotify_ms_range = {
	.min	= SOCKBEAT_MIN_TIMEOUT_MS,
	.max	= SOCKBEAT_MAX_TIMEOUT_MS,
};

/* Common nested types */
const struct nla_policy sockbeat_filter_nl_policy[SOCKBEAT_A_FILTER_PAD + 1] = {
	[SOCKBEAT_A_FILTER_IDLE_MS] = { .type = NLA_U64, },
	[SOCKBEAT_A_FILTER_FAMILY] = { .type = NLA_U32, },
	[SOCKBEAT_A_FILTER_LOCAL_ADDR] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_FILTER_LOCAL_PREFIX] = NLA_POLICY_MAX(NLA_U32, 128),
	[SOCKBEAT_A_FILTER_LOCAL_PORT] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_filter_local_port_range),
	[SOCKBEAT_A_FILTER_REMOTE_ADDR] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_FILTER_REMOTE_PREFIX] = NLA_POLICY_MAX(NLA_U32, 128),
	[SOCKBEAT_A_FILTER_REMOTE_PORT] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_filter_remote_port_range),
};

const struct nla_policy sockbeat_pattern_nl_policy[SOCKBEAT_A_PATTERN_ANSWERS_PROBE + 1] = {
	[SOCKBEAT_A_PATTERN_VALUE] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PATTERN_MASK] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PATTERN_REPLY] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PATTERN_COPY_FROM] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_FRAME_BYTES),
	[SOCKBEAT_A_PATTERN_COPY_TO] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_FRAME_BYTES),
	[SOCKBEAT_A_PATTERN_COPY_BYTES] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_FRAME_BYTES),
	[SOCKBEAT_A_PATTERN_ANSWERS_PROBE] = { .type = NLA_FLAG, },
};

const struct nla_policy sockbeat_peer_nl_policy[SOCKBEAT_A_PEER_SUSPECT + 1] = {
	[SOCKBEAT_A_PEER_HANDLE] = { .type = NLA_U64, },
	[SOCKBEAT_A_PEER_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_PEER_TIMEOUT_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_peer_timeout_ms_range),
	[SOCKBEAT_A_PEER_SOURCE] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_PEER_TRIGGER] = NLA_POLICY_MAX(NLA_U32, 1),
	[SOCKBEAT_A_PEER_USER_DATA] = { .type = NLA_U64, },
	[SOCKBEAT_A_PEER_STATE] = NLA_POLICY_MAX(NLA_U32, 3),
	[SOCKBEAT_A_PEER_IDLE_MS] = { .type = NLA_U64, },
	[SOCKBEAT_A_PEER_TCP_STATE] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_COOKIE] = { .type = NLA_U64, },
	[SOCKBEAT_A_PEER_RECYCLE_DELAY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_peer_recycle_delay_ms_range),
	[SOCKBEAT_A_PEER_END] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_PEER_HOLD] = { .type = NLA_FLAG, },
	[SOCKBEAT_A_PEER_LEFT_MS] = { .type = NLA_U64, },
	[SOCKBEAT_A_PEER_PROFILE] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_PROFILES),
	[SOCKBEAT_A_PEER_PROBE_AFTER_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_peer_probe_after_ms_range),
	[SOCKBEAT_A_PEER_RX_BEHIND] = { .type = NLA_S32, },
	[SOCKBEAT_A_PEER_TX_BEHIND] = { .type = NLA_S32, },
	[SOCKBEAT_A_PEER_ACTION] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_PEER_ACT_AFTER_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_peer_act_after_ms_range),
	[SOCKBEAT_A_PEER_SUSPECT_PERCENT] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_SUSPECT_PERCENT),
	[SOCKBEAT_A_PEER_RENOTIFY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_peer_renotify_ms_range),
	[SOCKBEAT_A_PEER_ADAPTIVE_BEATS] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_ADAPTIVE_BEATS),
	[SOCKBEAT_A_PEER_LIMIT_MS] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_INTERVAL_MS] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_DEVIATION_MS] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_FAMILY] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_LOCAL_ADDR] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PEER_LOCAL_PORT] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_REMOTE_ADDR] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PEER_REMOTE_PORT] = { .type = NLA_U32, },
	[SOCKBEAT_A_PEER_SUSPECT] = { .type = NLA_FLAG, },
};

const struct nla_policy sockbeat_profile_nl_policy[SOCKBEAT_A_PROFILE_PATTERN + 1] = {
	[SOCKBEAT_A_PROFILE_ID] = NLA_POLICY_RANGE(NLA_U32, 1, SOCKBEAT_MAX_PROFILES),
	[SOCKBEAT_A_PROFILE_MIN_INTERVAL_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_profile_min_interval_ms_range),
	[SOCKBEAT_A_PROFILE_PROBE] = { .type = NLA_BINARY, },
	[SOCKBEAT_A_PROFILE_PATTERN] = NLA_POLICY_NESTED(sockbeat_pattern_nl_policy),
};

/* SOCKBEAT_CMD_SESSION_NEW - do */
static const struct nla_policy sockbeat_session_new_nl_policy[SOCKBEAT_A_SESSION_GUARD_WINDOW_MS + 1] = {
	[SOCKBEAT_A_SESSION_CAPACITY] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_capacity_range),
	[SOCKBEAT_A_SESSION_TIMEOUT_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_timeout_ms_range),
	[SOCKBEAT_A_SESSION_RENOTIFY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_renotify_ms_range),
	[SOCKBEAT_A_SESSION_SOURCE] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_SESSION_TRIGGER] = NLA_POLICY_MAX(NLA_U32, 1),
	[SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_recycle_delay_ms_range),
	[SOCKBEAT_A_SESSION_ACTION] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_SESSION_ACT_AFTER_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_act_after_ms_range),
	[SOCKBEAT_A_SESSION_SUSPECT_PERCENT] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_SUSPECT_PERCENT),
	[SOCKBEAT_A_SESSION_ADAPTIVE_BEATS] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_ADAPTIVE_BEATS),
	[SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_adaptive_min_ms_range),
	[SOCKBEAT_A_SESSION_GUARD_PERCENT] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_PERCENT),
	[SOCKBEAT_A_SESSION_GUARD_WINDOW_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_guard_window_ms_range),
};

/* SOCKBEAT_CMD_SESSION_GET - do */
static const struct nla_policy sockbeat_session_get_do_nl_policy[SOCKBEAT_A_SESSION_ID + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
};

/* SOCKBEAT_CMD_SESSION_GET - dump */
static const struct nla_policy sockbeat_session_get_dump_nl_policy[SOCKBEAT_A_SESSION_ID + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
};

/* SOCKBEAT_CMD_SESSION_SET - do */
static const struct nla_policy sockbeat_session_set_nl_policy[SOCKBEAT_A_SESSION_GUARD_WINDOW_MS + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_TIMEOUT_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_timeout_ms_range),
	[SOCKBEAT_A_SESSION_RENOTIFY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_renotify_ms_range),
	[SOCKBEAT_A_SESSION_SOURCE] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_SESSION_TRIGGER] = NLA_POLICY_MAX(NLA_U32, 1),
	[SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_recycle_delay_ms_range),
	[SOCKBEAT_A_SESSION_ACTION] = NLA_POLICY_MAX(NLA_U32, 2),
	[SOCKBEAT_A_SESSION_ACT_AFTER_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_act_after_ms_range),
	[SOCKBEAT_A_SESSION_SUSPECT_PERCENT] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_SUSPECT_PERCENT),
	[SOCKBEAT_A_SESSION_ADAPTIVE_BEATS] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_ADAPTIVE_BEATS),
	[SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_adaptive_min_ms_range),
	[SOCKBEAT_A_SESSION_GUARD_PERCENT] = NLA_POLICY_MAX(NLA_U32, SOCKBEAT_MAX_PERCENT),
	[SOCKBEAT_A_SESSION_GUARD_WINDOW_MS] = NLA_POLICY_FULL_RANGE(NLA_U32, &sockbeat_a_session_guard_window_ms_range),
};

/* SOCKBEAT_CMD_SESSION_BIND - do */
static const struct nla_policy sockbeat_session_bind_nl_policy[SOCKBEAT_A_SESSION_FD + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
};

/* SOCKBEAT_CMD_PEER_ADD - do */
static const struct nla_policy sockbeat_peer_add_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* SOCKBEAT_CMD_PEER_SET - do */
static const struct nla_policy sockbeat_peer_set_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* SOCKBEAT_CMD_PEER_DEL - do */
static const struct nla_policy sockbeat_peer_del_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* SOCKBEAT_CMD_PEER_RECYCLE - do */
static const struct nla_policy sockbeat_peer_recycle_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* SOCKBEAT_CMD_RECYCLE_EXTEND - do */
static const struct nla_policy sockbeat_recycle_extend_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* SOCKBEAT_CMD_PEER_GET - do */
static const struct nla_policy sockbeat_peer_get_do_nl_policy[SOCKBEAT_A_SESSION_FILTER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
	[SOCKBEAT_A_SESSION_STATES] = NLA_POLICY_MASK(NLA_U32, 0xf),
	[SOCKBEAT_A_SESSION_FILTER] = NLA_POLICY_NESTED(sockbeat_filter_nl_policy),
};

/* SOCKBEAT_CMD_PEER_GET - dump */
static const struct nla_policy sockbeat_peer_get_dump_nl_policy[SOCKBEAT_A_SESSION_FILTER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
	[SOCKBEAT_A_SESSION_STATES] = NLA_POLICY_MASK(NLA_U32, 0xf),
	[SOCKBEAT_A_SESSION_FILTER] = NLA_POLICY_NESTED(sockbeat_filter_nl_policy),
};

/* SOCKBEAT_CMD_PROFILE_SET - do */
static const struct nla_policy sockbeat_profile_set_nl_policy[SOCKBEAT_A_SESSION_PROFILE + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_PROFILE] = NLA_POLICY_NESTED(sockbeat_profile_nl_policy),
};

/* SOCKBEAT_CMD_PROFILE_DEL - do */
static const struct nla_policy sockbeat_profile_del_nl_policy[SOCKBEAT_A_SESSION_PROFILE + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_PROFILE] = NLA_POLICY_NESTED(sockbeat_profile_nl_policy),
};

/* SOCKBEAT_CMD_PEER_END - do */
static const struct nla_policy sockbeat_peer_end_nl_policy[SOCKBEAT_A_SESSION_PEER + 1] = {
	[SOCKBEAT_A_SESSION_FD] = NLA_POLICY_MIN(NLA_S32, 0),
	[SOCKBEAT_A_SESSION_ID] = { .type = NLA_U32, },
	[SOCKBEAT_A_SESSION_PEER] = NLA_POLICY_NESTED(sockbeat_peer_nl_policy),
};

/* Ops table for sockbeat */
const struct genl_split_ops sockbeat_nl_ops[15] = {
	{
		.cmd		= SOCKBEAT_CMD_SESSION_NEW,
		.doit		= sockbeat_nl_session_new_doit,
		.policy		= sockbeat_session_new_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_GUARD_WINDOW_MS,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_SESSION_GET,
		.doit		= sockbeat_nl_session_get_doit,
		.policy		= sockbeat_session_get_do_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_ID,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_SESSION_GET,
		.dumpit		= sockbeat_nl_session_get_dumpit,
		.policy		= sockbeat_session_get_dump_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_ID,
		.flags		= GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= SOCKBEAT_CMD_SESSION_SET,
		.doit		= sockbeat_nl_session_set_doit,
		.policy		= sockbeat_session_set_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_GUARD_WINDOW_MS,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_SESSION_BIND,
		.doit		= sockbeat_nl_session_bind_doit,
		.policy		= sockbeat_session_bind_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_FD,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_ADD,
		.doit		= sockbeat_nl_peer_add_doit,
		.policy		= sockbeat_peer_add_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_SET,
		.doit		= sockbeat_nl_peer_set_doit,
		.policy		= sockbeat_peer_set_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_DEL,
		.doit		= sockbeat_nl_peer_del_doit,
		.policy		= sockbeat_peer_del_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_RECYCLE,
		.doit		= sockbeat_nl_peer_recycle_doit,
		.policy		= sockbeat_peer_recycle_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_RECYCLE_EXTEND,
		.doit		= sockbeat_nl_recycle_extend_doit,
		.policy		= sockbeat_recycle_extend_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_GET,
		.doit		= sockbeat_nl_peer_get_doit,
		.policy		= sockbeat_peer_get_do_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_FILTER,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_GET,
		.start		= sockbeat_nl_peer_get_start,
		.dumpit		= sockbeat_nl_peer_get_dumpit,
		.done		= sockbeat_nl_peer_get_done,
		.policy		= sockbeat_peer_get_dump_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_FILTER,
		.flags		= GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= SOCKBEAT_CMD_PROFILE_SET,
		.doit		= sockbeat_nl_profile_set_doit,
		.policy		= sockbeat_profile_set_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PROFILE,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PROFILE_DEL,
		.doit		= sockbeat_nl_profile_del_doit,
		.policy		= sockbeat_profile_del_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PROFILE,
		.flags		= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= SOCKBEAT_CMD_PEER_END,
		.doit		= sockbeat_nl_peer_end_doit,
		.policy		= sockbeat_peer_end_nl_policy,
		.maxattr	= SOCKBEAT_A_SESSION_PEER,
		.flags		= GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group sockbeat_nl_mcgrps[] __maybe_unused = {
	[SOCKBEAT_NLGRP_MONITOR] = { "monitor", },
};
