/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only file that names kernel versions.  Included by the compiler's
 * command line ahead of everything, so that generated code sees it too.
 * Code elsewhere is written for the newest kernel.
 */
#ifndef _SOCKBEAT_COMPAT_H
#define _SOCKBEAT_COMPAT_H

#include <linux/version.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <net/genetlink.h>
#include <net/inet_sock.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "sockbeat needs Linux 6.1 or newer"
#endif

/* Before 6.2 a family listed one entry for both do and dump. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define SB_COMPAT_GENL_OPS
struct genl_split_ops {
	int (*start)(struct netlink_callback *cb);
	int (*dumpit)(struct sk_buff *skb, struct netlink_callback *cb);
	int (*done)(struct netlink_callback *cb);
	int (*doit)(struct sk_buff *skb, struct genl_info *info);
	const struct nla_policy *policy;
	unsigned int maxattr;
	u8 cmd;
	u8 flags;
};

/**
 * sb_compat_join_ops - make an op table of the kind that 6.1 takes
 * @ops: room for @n entries
 * @split: the table that the netlink spec gives, do before dump of a command
 * @n: entries of @split
 *
 * A command's do and dump share one policy here: the spec gives both the same
 * request attributes.
 *
 * Return: the number of entries made.
 */
static inline unsigned int
sb_compat_join_ops(struct genl_ops *ops, const struct genl_split_ops *split,
		   unsigned int n)
{
	unsigned int i, made = 0;

	for (i = 0; i < n; i++) {
		struct genl_ops *op;

		if (!made || ops[made - 1].cmd != split[i].cmd)
			made++;
		op = &ops[made - 1];
		op->cmd = split[i].cmd;
		op->policy = split[i].policy;
		op->maxattr = split[i].maxattr;
		op->flags |= split[i].flags &
			     (GENL_ADMIN_PERM | GENL_UNS_ADMIN_PERM);
		if (split[i].doit)
			op->doit = split[i].doit;
		if (split[i].dumpit) {
			op->start = split[i].start;
			op->dumpit = split[i].dumpit;
			op->done = split[i].done;
		}
	}
	return made;
}
#endif

/* Before 6.7 a policy's range was not const, though nobody wrote to it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#undef NLA_POLICY_FULL_RANGE
#define NLA_POLICY_FULL_RANGE(tp, _range) {				\
	.type = NLA_ENSURE_UINT_OR_BINARY_TYPE(tp),			\
	.validation_type = NLA_VALIDATE_RANGE_PTR,			\
	.range = (struct netlink_range_validation *)(_range),		\
}
#endif

/* Before 6.3 an extended acknowledgement's text was a constant. */
#ifndef NL_SET_ERR_MSG_ATTR_FMT
#define SB_COMPAT_EXTACK_TEXT
#define NL_SET_ERR_MSG_ATTR_FMT(extack, attr, fmt, args...)		\
	sb_extack(extack, attr, sb_later_text(fmt, ##args))
#endif

/* Before 6.7, and where that was not taken back: CAP_NET_ADMIN for a group. */
#ifndef GENL_MCAST_CAP_NET_ADMIN
#define GENL_MCAST_CAP_NET_ADMIN	GENL_UNS_ADMIN_PERM
#endif

/**
 * sb_get_live_file - take a reference on a file that may be on its way out
 * @file: where it is noted
 *
 * Context: what is noted there is not freed, as its release takes it away first.
 * Return: the file, or NULL where its last reference is gone.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct file *sb_get_live_file(struct file **file)
{
	return get_file_rcu(*file) ? *file : NULL;
}
#else
static inline struct file *sb_get_live_file(struct file **file)
{
	return get_file_active(file);
}
#endif

/**
 * sb_defers_connect - whether what a socket sends first is to connect it
 * @sk: a TCP socket
 */
static inline bool sb_defers_connect(const struct sock *sk)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	return inet_sk(sk)->defer_connect;
#else
	return inet_test_bit(DEFER_CONNECT, sk);
#endif
}

static inline struct nlattr **sb_dump_attrs(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	return genl_dumpit_info(cb)->attrs;
#else
	return genl_info_dump(cb)->attrs;
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void sb_hrtimer_setup(struct hrtimer *timer,
				    enum hrtimer_restart (*fn)(struct hrtimer *),
				    clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
}

#define hrtimer_setup sb_hrtimer_setup
#endif

#endif /* _SOCKBEAT_COMPAT_H */
