// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits per user.  Kernels before 7.x do not export their own counters of
 * this kind (inc_ucount()), and the limits are few: a short list will do.
 */
#include <linux/cred.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "sockbeat.h"

/**
 * struct sb_user - what one user has, all under sb_users_lock
 * @list: place in sb_users
 * @uid: the user; constant
 * @sessions: sessions, each of which holds this record
 * @peers: peers that they have room for
 */
struct sb_user {
	struct list_head list;
	kuid_t uid;
	unsigned int sessions;
	u64 peers;
};

static LIST_HEAD(sb_users);
static DEFINE_SPINLOCK(sb_users_lock);

static const char *sb_user_over(const struct sb_user *user, u32 capacity)
{
	if (user->sessions >= READ_ONCE(sb_max_sessions_per_user))
		return "this user has max_sessions_per_user sessions";
	if (user->peers + capacity > READ_ONCE(sb_max_peers_per_user))
		return "capacity is more than max_peers_per_user leaves this user";
	return NULL;
}

/**
 * sb_user_get - count a session of the current user
 * @capacity: its slots; memory is taken for them whether or not they are used
 * @why: set to a reason for users on failure
 *
 * Context: process, may sleep.
 * Return: the user, to be put when the session ends, or an error pointer:
 * -EDQUOT at max_sessions_per_user or max_peers_per_user, -ENOMEM.
 */
struct sb_user *sb_user_get(u32 capacity, const char **why)
{
	struct sb_user *spare, *user;
	kuid_t uid = current_euid();

	spare = kzalloc(sizeof(*spare), GFP_KERNEL_ACCOUNT);
	if (!spare) {
		*why = "no memory";
		return ERR_PTR(-ENOMEM);
	}
	spare->uid = uid;
	spin_lock(&sb_users_lock);
	list_for_each_entry(user, &sb_users, list) {
		if (uid_eq(user->uid, uid))
			goto found;
	}
	user = spare;
found:
	*why = sb_user_over(user, capacity);
	if (*why) {
		user = ERR_PTR(-EDQUOT);
	} else {
		user->sessions++;
		user->peers += capacity;
		if (user == spare) {
			list_add(&user->list, &sb_users);
			spare = NULL;
		}
	}
	spin_unlock(&sb_users_lock);
	kfree(spare);
	return user;
}

/**
 * sb_user_put - a session has ended
 * @user: from sb_user_get()
 * @capacity: as given there
 *
 * Context: process.
 */
void sb_user_put(struct sb_user *user, u32 capacity)
{
	spin_lock(&sb_users_lock);
	user->peers -= capacity;
	if (--user->sessions)
		user = NULL;
	else
		list_del(&user->list);
	spin_unlock(&sb_users_lock);
	kfree(user);
}
