// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tunables below /sys/module/sockbeat/parameters/, each with a range.  What a
 * change applies to is said in Documentation/ABI/testing/sysfs-module-sockbeat.
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "sockbeat.h"

/**
 * struct sb_range - a tunable and the values that it may take
 * @value: where it lives; read by others with READ_ONCE()
 * @min: least value
 * @max: greatest value
 */
struct sb_range {
	unsigned int *value;
	unsigned int min;
	unsigned int max;
};

static int sb_range_set(const char *text, const struct kernel_param *kp)
{
	const struct sb_range *range = kp->arg;
	unsigned int value;
	int err;

	err = kstrtouint(text, 0, &value);
	if (!err && (value < range->min || value > range->max))
		err = -ERANGE;
	if (err) {
		pr_err("sockbeat: %s: %.*s is not a number from %u to %u\n",
		       kp->name, (int)strcspn(text, "\n"), text, range->min,
		       range->max);
		return err;
	}
	WRITE_ONCE(*range->value, value);
	return 0;
}

static int sb_range_get(char *buf, const struct kernel_param *kp)
{
	const struct sb_range *range = kp->arg;

	return sysfs_emit(buf, "%u\n", READ_ONCE(*range->value));
}

static const struct kernel_param_ops sb_range_ops = {
	.set = sb_range_set,
	.get = sb_range_get,
};

unsigned int sb_default_timeout_ms = 60000;
static struct sb_range sb_default_timeout_ms_range = {
	.value = &sb_default_timeout_ms,
	.min = SOCKBEAT_MIN_TIMEOUT_MS,
	.max = SOCKBEAT_MAX_TIMEOUT_MS,
};
module_param_cb(default_timeout_ms, &sb_range_ops, &sb_default_timeout_ms_range, 0644);
MODULE_PARM_DESC(default_timeout_ms, "silence after which a peer is reported, for sessions made later that name none");

unsigned int sb_renotify_ms = 5000;
static struct sb_range sb_renotify_ms_range = {
	.value = &sb_renotify_ms,
	.min = SOCKBEAT_MIN_TIMEOUT_MS,
	.max = SOCKBEAT_MAX_TIMEOUT_MS,
};
module_param_cb(renotify_ms, &sb_range_ops, &sb_renotify_ms_range, 0644);
MODULE_PARM_DESC(renotify_ms, "how often a level-triggered silent peer is reported again, for sessions made later that name none");

unsigned int sb_recycle_delay_ms = 60000;
static struct sb_range sb_recycle_delay_ms_range = {
	.value = &sb_recycle_delay_ms,
	.max = SOCKBEAT_MAX_DELAY_MS,
};
module_param_cb(recycle_delay_ms, &sb_range_ops, &sb_recycle_delay_ms_range, 0644);
MODULE_PARM_DESC(recycle_delay_ms, "quarantine of recycled peers, for sessions made later that name none");

unsigned int sb_default_action = SOCKBEAT_ACTION_NOTIFY;
static struct sb_range sb_default_action_range = {
	.value = &sb_default_action,
	.max = SOCKBEAT_ACTION_ABORT,
};
module_param_cb(default_action, &sb_range_ops, &sb_default_action_range, 0644);
MODULE_PARM_DESC(default_action, "what the kernel does by itself to a peer that stays silent, for sessions made later that name none: 0 notify, 1 shutdown, 2 abort");

unsigned int sb_act_after_ms;
static struct sb_range sb_act_after_ms_range = {
	.value = &sb_act_after_ms,
	.max = SOCKBEAT_MAX_TIMEOUT_MS,
};
module_param_cb(act_after_ms, &sb_range_ops, &sb_act_after_ms_range, 0644);
MODULE_PARM_DESC(act_after_ms, "how long a peer has been silent when the kernel acts, for sessions made later that name none");

unsigned int sb_suspect_percent;
static struct sb_range sb_suspect_percent_range = {
	.value = &sb_suspect_percent,
	.max = SOCKBEAT_MAX_SUSPECT_PERCENT,
};
module_param_cb(suspect_percent, &sb_range_ops, &sb_suspect_percent_range, 0644);
MODULE_PARM_DESC(suspect_percent, "part of the timeout after which a peer is reported as suspect, for sessions made later that name none; 0 for no warning");

unsigned int sb_adaptive_beats;
static struct sb_range sb_adaptive_beats_range = {
	.value = &sb_adaptive_beats,
	.max = SOCKBEAT_MAX_ADAPTIVE_BEATS,
};
module_param_cb(adaptive_beats, &sb_range_ops, &sb_adaptive_beats_range, 0644);
MODULE_PARM_DESC(adaptive_beats, "intervals of a peer's rhythm that make its timeout, for sessions made later that name none; 0 for a fixed timeout");

unsigned int sb_adaptive_min_ms = 10000;
static struct sb_range sb_adaptive_min_ms_range = {
	.value = &sb_adaptive_min_ms,
	.min = SOCKBEAT_MIN_TIMEOUT_MS,
	.max = SOCKBEAT_MAX_TIMEOUT_MS,
};
module_param_cb(adaptive_min_ms, &sb_range_ops, &sb_adaptive_min_ms_range, 0644);
MODULE_PARM_DESC(adaptive_min_ms, "shortest timeout that a rhythm leads to, for sessions made later that name none");

unsigned int sb_guard_percent;
static struct sb_range sb_guard_percent_range = {
	.value = &sb_guard_percent,
	.max = SOCKBEAT_MAX_PERCENT,
};
module_param_cb(guard_percent, &sb_range_ops, &sb_guard_percent_range, 0644);
MODULE_PARM_DESC(guard_percent, "part of a session's peers that may fall silent within guard_window_ms and still be acted on, for sessions made later that name none; 0 for no guard");

unsigned int sb_guard_window_ms = 10000;
static struct sb_range sb_guard_window_ms_range = {
	.value = &sb_guard_window_ms,
	.min = SOCKBEAT_MIN_TIMEOUT_MS,
	.max = SOCKBEAT_MAX_TIMEOUT_MS,
};
module_param_cb(guard_window_ms, &sb_range_ops, &sb_guard_window_ms_range, 0644);
MODULE_PARM_DESC(guard_window_ms, "the guard's window, for sessions made later that name none");

unsigned int sb_first_generation = 1;
static struct sb_range sb_first_generation_range = {
	.value = &sb_first_generation,
	.min = 1,
	.max = U32_MAX,
};
module_param_cb(first_generation, &sb_range_ops, &sb_first_generation_range, 0644);
MODULE_PARM_DESC(first_generation, "generation of the first peer of each slot, for sessions made later; for tests");

unsigned int sb_tick_ms = 100;
static struct sb_range sb_tick_ms_range = {
	.value = &sb_tick_ms,
	.min = 10,
	.max = 1000,
};
module_param_cb(tick_ms, &sb_range_ops, &sb_tick_ms_range, 0644);
MODULE_PARM_DESC(tick_ms, "unit of the timing wheel, for sessions made later");

unsigned int sb_max_expire_per_tick = 16384;
static struct sb_range sb_max_expire_per_tick_range = {
	.value = &sb_max_expire_per_tick,
	.min = 64,
	.max = 1048576,
};
module_param_cb(max_expire_per_tick, &sb_range_ops, &sb_max_expire_per_tick_range, 0644);
MODULE_PARM_DESC(max_expire_per_tick, "peers that one tick of a session looks at, and events that it sends; the rest waits for the next");

unsigned int sb_max_peers_per_user = 4194304;
static struct sb_range sb_max_peers_per_user_range = {
	.value = &sb_max_peers_per_user,
	.min = 1,
	.max = 1073741824,
};
module_param_cb(max_peers_per_user, &sb_range_ops, &sb_max_peers_per_user_range, 0644);
MODULE_PARM_DESC(max_peers_per_user, "peers that all sessions of one user together may have room for");

unsigned int sb_max_sessions_per_user = 1024;
static struct sb_range sb_max_sessions_per_user_range = {
	.value = &sb_max_sessions_per_user,
	.min = 1,
	.max = 1048576,
};
module_param_cb(max_sessions_per_user, &sb_range_ops, &sb_max_sessions_per_user_range, 0644);
MODULE_PARM_DESC(max_sessions_per_user, "sessions that one user may have");
