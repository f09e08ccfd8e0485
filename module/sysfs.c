// SPDX-License-Identifier: GPL-2.0-only
/*
 * Totals of all sessions below /sys/kernel/sockbeat/, one value per file, as
 * Documentation/ABI/testing/sysfs-kernel-sockbeat tells.  Counters include
 * sessions that have ended, so none ever goes back while the module is loaded.
 */
#include <linux/kobject.h>
#include <linux/sysfs.h>

#include "sockbeat.h"

/* Of the sessions that have ended; sb_sessions_mutex. */
static struct sb_stats sb_ended;
static u64 sb_ended_counts[SB_COUNTS];

static struct kobject *sb_kobject;

/* Counters of struct sb_stats are u64s that follow each other. */
#define SB_STATS_U64S \
	((sizeof(struct sb_stats) - offsetof(struct sb_stats, added)) / sizeof(u64))

/**
 * sb_sysfs_ended - keep the counters of a session that ends
 * @session: the session, which has no peers any more
 *
 * Context: process; sb_sessions_mutex held.
 */
void sb_sysfs_ended(const struct sb_session *session)
{
	const u64 *from = &session->stats.added;
	u64 *to = &sb_ended.added;
	unsigned int i;

	lockdep_assert_held(&sb_sessions_mutex);

	for (i = 0; i < SB_STATS_U64S; i++)
		to[i] += from[i];
	for (i = 0; i < SB_COUNTS; i++)
		sb_ended_counts[i] += sb_offload_sum(session, i);
}

/**
 * struct sb_sysfs - a file
 * @attr: its name
 * @offset: of the value in struct sb_stats, where @count is SB_COUNTS
 * @count: what is shown instead
 * @is_gauge: the value is a u32 and goes up and down
 */
struct sb_sysfs {
	struct kobj_attribute attr;
	size_t offset;
	enum sb_count count;
	bool is_gauge;
};

static u64 sb_sysfs_value(const struct sb_sysfs *file, const struct sb_session *session)
{
	const void *value = (const void *)&session->stats + file->offset;

	if (file->count != SB_COUNTS)
		return sb_offload_sum(session, file->count);
	return file->is_gauge ? *(const u32 *)value : *(const u64 *)value;
}

static u64 sb_sysfs_ended_value(const struct sb_sysfs *file)
{
	if (file->count != SB_COUNTS)
		return sb_ended_counts[file->count];
	return file->is_gauge ? 0 : *(const u64 *)((const void *)&sb_ended + file->offset);
}

static ssize_t sb_sysfs_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	const struct sb_sysfs *file = container_of(attr, struct sb_sysfs, attr);
	struct sb_session *session;
	u64 sum;

	mutex_lock(&sb_sessions_mutex);
	sum = sb_sysfs_ended_value(file);
	list_for_each_entry(session, &sb_sessions, all) {
		spin_lock_bh(&session->lock);
		sum += sb_sysfs_value(file, session);
		spin_unlock_bh(&session->lock);
	}
	mutex_unlock(&sb_sessions_mutex);
	return sysfs_emit(buf, "%llu\n", sum);
}

static ssize_t sessions_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct sb_session *session;
	unsigned int n = 0;

	mutex_lock(&sb_sessions_mutex);
	list_for_each_entry(session, &sb_sessions, all)
		n++;
	mutex_unlock(&sb_sessions_mutex);
	return sysfs_emit(buf, "%u\n", n);
}

static struct kobj_attribute sb_sysfs_sessions = __ATTR_RO(sessions);

#define SB_ATTR(_name) \
	.attr = { .attr = { .name = #_name, .mode = 0444 }, .show = sb_sysfs_show }
#define SB_GAUGE(_name, _state) \
	{ SB_ATTR(_name), offsetof(struct sb_stats, count[_state]), SB_COUNTS, true }
/* checkpatch would not have an argument used twice in one macro. */
#define SB_OFFSET(_name)	offsetof(struct sb_stats, _name)
#define SB_SUM(_name, _count) \
	{ SB_ATTR(_name), 0, _count }

static struct sb_sysfs sb_sysfs_files[] = {
	SB_GAUGE(live, SOCKBEAT_STATE_LIVE),
	SB_GAUGE(silent, SOCKBEAT_STATE_SILENT),
	SB_GAUGE(gone, SOCKBEAT_STATE_GONE),
	SB_GAUGE(recycling, SOCKBEAT_STATE_RECYCLING),
	{ SB_ATTR(added), SB_OFFSET(added), SB_COUNTS },
	{ SB_ATTR(deleted), SB_OFFSET(deleted), SB_COUNTS },
	{ SB_ATTR(silences), SB_OFFSET(silences), SB_COUNTS },
	{ SB_ATTR(recoveries), SB_OFFSET(recoveries), SB_COUNTS },
	{ SB_ATTR(sockets_gone), SB_OFFSET(sockets_gone), SB_COUNTS },
	{ SB_ATTR(events), SB_OFFSET(events), SB_COUNTS },
	{ SB_ATTR(messages), SB_OFFSET(messages), SB_COUNTS },
	{ SB_ATTR(deferrals), SB_OFFSET(deferrals), SB_COUNTS },
	{ SB_ATTR(bad_stamps), SB_OFFSET(bad_stamps), SB_COUNTS },
	{ SB_ATTR(ticks), SB_OFFSET(ticks), SB_COUNTS },
	{ SB_ATTR(tick_ns), SB_OFFSET(tick_ns), SB_COUNTS },
	{ SB_ATTR(checks), SB_OFFSET(checks), SB_COUNTS },
	{ SB_ATTR(postponed), SB_OFFSET(postponed), SB_COUNTS },
	{ SB_ATTR(recycles), SB_OFFSET(recycles), SB_COUNTS },
	{ SB_ATTR(recycled), SB_OFFSET(recycled), SB_COUNTS },
	{ SB_ATTR(suspects), SB_OFFSET(suspects), SB_COUNTS },
	{ SB_ATTR(shutdowns), SB_OFFSET(shutdowns), SB_COUNTS },
	{ SB_ATTR(aborts), SB_OFFSET(aborts), SB_COUNTS },
	{ SB_ATTR(acts_deferred), SB_OFFSET(acts_deferred), SB_COUNTS },
	{ SB_ATTR(acts_guarded), SB_OFFSET(acts_guarded), SB_COUNTS },
	{ SB_ATTR(guards), SB_OFFSET(guards), SB_COUNTS },
	SB_SUM(answered, SB_ANSWERED),
	SB_SUM(pass_data, SB_PASS_DATA),
	SB_SUM(pass_partial, SB_PASS_PARTIAL),
	SB_SUM(pass_position, SB_PASS_POSITION),
	SB_SUM(pass_queue, SB_PASS_QUEUE),
	SB_SUM(pass_owned, SB_PASS_OWNED),
	SB_SUM(pass_memory, SB_PASS_MEMORY),
	SB_SUM(pass_rate, SB_PASS_RATE),
	SB_SUM(pass_state, SB_PASS_STATE),
	SB_SUM(pass_foreign, SB_PASS_FOREIGN),
	SB_SUM(probes, SB_PROBES),
	SB_SUM(probes_answered, SB_PROBES_ANSWERED),
	SB_SUM(probes_skipped, SB_PROBES_SKIPPED),
};

static struct attribute *sb_sysfs_attrs[ARRAY_SIZE(sb_sysfs_files) + 2];

static const struct attribute_group sb_sysfs_group = {
	.attrs = sb_sysfs_attrs,
};

int __init sb_sysfs_init(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(sb_sysfs_files); i++) {
		sysfs_attr_init(&sb_sysfs_files[i].attr.attr);
		sb_sysfs_attrs[i] = &sb_sysfs_files[i].attr.attr;
	}
	sb_sysfs_attrs[i] = &sb_sysfs_sessions.attr;
	sb_kobject = kobject_create_and_add("sockbeat", kernel_kobj);
	if (!sb_kobject)
		return -ENOMEM;
	err = sysfs_create_group(sb_kobject, &sb_sysfs_group);
	if (err)
		kobject_put(sb_kobject);
	return err;
}

void sb_sysfs_exit(void)
{
	/* Its files go now, whoever still holds it. */
	kobject_del(sb_kobject);
	kobject_put(sb_kobject);
}
