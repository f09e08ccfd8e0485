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
 * struct sb_user - what one user has
 * @list: place in sb_users; sb_users_lock
 * @uid: the user; constant
 * @sessions: sessions, each of which holds this record; sb_users_lock
 * @peers: peers in all of them
 */
struct sb_user {
	struct list_head list;
	kuid_t uid;
	unsigned int sessions;
	atomic_t peers;
};

static LIST_HEAD(sb_users);
static DEFINE_SPINLOCK(sb_users_lock);

/**
 * sb_user_get - count a session of the current user
 * @why: set to a reason for users on failure
 *
 * Context: process, may sleep.
 * Return: the user, to be put when the session ends, or an error pointer:
 * -EDQUOT at max_sessions_per_user, -ENOMEM.
 */
struct sb_user *sb_user_get(const char **why)
{
	struct sb_user *spare, *user;
	kuid_t uid = current_euid();

	spare = kzalloc(sizeof(*spare), GFP_KERNEL_ACCOUNT);
	if (!spare) {
		*why = "no memory";
		return ERR_PTR(-ENOMEM);
	}
	spin_lock(&sb_users_lock);
	list_for_each_entry(user, &sb_users, list) {
		if (uid_eq(user->uid, uid))
			goto found;
	}
	user = spare;
	spare = NULL;
	user->uid = uid;
	list_add(&user->list, &sb_users);
found:
	if (user->sessions < READ_ONCE(sb_max_sessions_per_user)) {
		user->sessions++;
	} else {
		user = ERR_PTR(-EDQUOT);
		*why = "this user has max_sessions_per_user sessions";
	}
	spin_unlock(&sb_users_lock);
	kfree(spare);
	return user;
}

/**
 * sb_user_put - a session has ended
 * @user: from sb_user_get()
 *
 * Context: any but hard interrupt.
 */
void sb_user_put(struct sb_user *user)
{
	spin_lock(&sb_users_lock);
	if (--user->sessions) {
		user = NULL;
	} else {
		WARN_ON_ONCE(atomic_read(&user->peers));
		list_del(&user->list);
	}
	spin_unlock(&sb_users_lock);
	kfree(user);
}

/**
 * sb_user_charge - count peers that are about to be added
 * @user: whose
 * @peers: how many
 *
 * Return: false, with nothing charged, where max_peers_per_user forbids it.
 */
bool sb_user_charge(struct sb_user *user, unsigned int peers)
{
	if (atomic_add_return(peers, &user->peers) <=
	    READ_ONCE(sb_max_peers_per_user))
		return true;
	atomic_sub(peers, &user->peers);
	return false;
}

/**
 * sb_user_uncharge - count peers that were deleted
 * @user: whose
 * @peers: how many
 */
void sb_user_uncharge(struct sb_user *user, unsigned int peers)
{
	atomic_sub(peers, &user->peers);
}
