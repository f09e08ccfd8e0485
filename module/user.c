// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits per user, whose turn it is, and what has to wait for a user's sockets.
 * Kernels before 7.x do not export their own counters of this kind
 * (inc_ucount()), and the limits are few: a short list will do.
 *
 * A session's work is done by threads of the kernel, whose time counts for
 * nobody.  So those of one user take turns, of which half the processors may be
 * busy; who gets no turn is parked, and is handed the first that ends.
 */
#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/slab.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include "sockbeat.h"

/**
 * struct sb_user - what one user has, under sb_users_lock if not said otherwise
 * @list: place in sb_users
 * @uid: the user; constant
 * @sessions: sessions, each of which holds this record
 * @peers: peers that they have room for
 * @turns_lock: guards @turns, @parked and what sessions have of it
 * @turns: sessions whose work runs, or has been handed a turn
 * @parked: sessions that wait for one, in order
 * @works: times that @work is queued or running, each of which holds it too
 * @acts: what @work has to do
 * @n_acts: sockets in it, and in what it is doing
 * @work: does it
 */
struct sb_user {
	struct list_head list;
	kuid_t uid;
	unsigned int sessions;
	u64 peers;
	spinlock_t turns_lock;	/* see above: no other user's sessions wait for it */
	unsigned int turns;
	struct list_head parked;
	unsigned int works;
	struct list_head acts;
	u64 n_acts;
	struct work_struct work;
};

static struct workqueue_struct *sb_user_wq;
static LIST_HEAD(sb_users);
static DEFINE_SPINLOCK(sb_users_lock);

/* Take a record away where nobody has it any more; the caller frees it. */
static struct sb_user *sb_user_unused(struct sb_user *user)
{
	lockdep_assert_held(&sb_users_lock);

	if (user->sessions || user->works)
		return NULL;
	list_del(&user->list);
	return user;
}

static void sb_user_work(struct work_struct *work)
{
	struct sb_user *user = container_of(work, struct sb_user, work);
	struct sb_acts *acts;
	unsigned int n;

	spin_lock(&sb_users_lock);
	while (!list_empty(&user->acts)) {
		acts = list_first_entry(&user->acts, struct sb_acts, item);
		list_del(&acts->item);
		n = acts->n;
		spin_unlock(&sb_users_lock);
		sb_acts_do(acts);
		spin_lock(&sb_users_lock);
		user->n_acts -= n;
	}
	user->works--;
	user = sb_user_unused(user);
	spin_unlock(&sb_users_lock);
	kfree(user);
}

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
	spin_lock_init(&spare->turns_lock);
	INIT_LIST_HEAD(&spare->parked);
	INIT_LIST_HEAD(&spare->acts);
	INIT_WORK(&spare->work, sb_user_work);
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
	user->sessions--;
	user = sb_user_unused(user);
	spin_unlock(&sb_users_lock);
	kfree(user);
}

static unsigned int sb_user_max_turns(void)
{
	return max(num_online_cpus() / 2, 1U);
}

static void sb_user_pass_turn(struct sb_user *user)
{
	struct sb_session *next;

	lockdep_assert_held(&user->turns_lock);

	next = list_first_entry_or_null(&user->parked, struct sb_session, parked);
	if (!next || user->turns > sb_user_max_turns()) {
		user->turns--;
		return;
	}
	list_del_init(&next->parked);
	next->has_turn = true;
	sb_session_run(next);
}

/**
 * sb_user_begin_turn - ask whether a session's work may run
 * @session: the session
 *
 * Context: the session's work.
 * Return: whether it may, to be ended by sb_user_end_turn().  If not, its work
 * is started when it may, unless the session is being closed.
 */
bool sb_user_begin_turn(struct sb_session *session)
{
	struct sb_user *user = session->user;
	bool may;

	spin_lock(&user->turns_lock);
	may = session->has_turn;
	session->has_turn = false;
	/* Nobody is parked any more after sb_user_forget_turn(). */
	if (!may && !READ_ONCE(session->closing)) {
		may = user->turns < sb_user_max_turns();
		if (may) {
			list_del_init(&session->parked);
			user->turns++;
		} else if (list_empty(&session->parked)) {
			list_add_tail(&session->parked, &user->parked);
		}
	}
	spin_unlock(&user->turns_lock);
	return may;
}

/**
 * sb_user_end_turn - let the next one run
 * @session: who had the turn
 *
 * Context: the session's work.
 */
void sb_user_end_turn(struct sb_session *session)
{
	struct sb_user *user = session->user;

	spin_lock(&user->turns_lock);
	sb_user_pass_turn(user);
	spin_unlock(&user->turns_lock);
}

/**
 * sb_user_forget_turn - have a session wait no more
 * @session: the session, which is closing; its work may still run
 *
 * Context: process.
 */
void sb_user_forget_turn(struct sb_session *session)
{
	struct sb_user *user = session->user;

	spin_lock(&user->turns_lock);
	list_del_init(&session->parked);
	if (session->has_turn) {
		session->has_turn = false;
		sb_user_pass_turn(user);
	}
	spin_unlock(&user->turns_lock);
}

/**
 * sb_user_queue - have sockets ended, for which some may have to be waited
 * @user: whose they are, held by the caller's session
 * @acts: the sockets; in order, and one at a time for each user
 *
 * Who makes that wait gets no more into the queue than there are slots that
 * count against the user's limit.
 *
 * Context: process.
 * Return: whether they were taken.
 */
bool sb_user_queue(struct sb_user *user, struct sb_acts *acts)
{
	bool taken;

	spin_lock(&sb_users_lock);
	taken = user->n_acts + acts->n <= user->peers;
	if (taken) {
		user->n_acts += acts->n;
		list_add_tail(&acts->item, &user->acts);
		if (queue_work(sb_user_wq, &user->work))
			user->works++;
	}
	spin_unlock(&sb_users_lock);
	return taken;
}

/**
 * sb_user_uid - who a user is
 * @user: the user
 */
kuid_t sb_user_uid(const struct sb_user *user)
{
	return user->uid;
}

int __init sb_user_init(void)
{
	sb_user_wq = alloc_workqueue("sockbeat_user", WQ_UNBOUND, WQ_MAX_ACTIVE);
	return sb_user_wq ? 0 : -ENOMEM;
}

void sb_user_exit(void)
{
	destroy_workqueue(sb_user_wq);
}
