// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session and its fd.
 *
 * The session lives as long as its file: no request and no timer holds it
 * otherwise.  Its namespace is not held either; when that goes the session
 * stays behind as an empty shell that answers every request with an error
 * and poll() with EPOLLHUP.
 *
 * All work is done by one work item, which a timer starts when the next
 * bucket of the wheel comes due and which others start to have an event sent.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "netlink.h"
#include "sockbeat.h"

#define SB_FREE_CHUNK		256

/**
 * struct sb_net - what a network namespace has
 * @sessions: its sessions by id; sb_sessions_mutex, read under RCU
 * @next_id: where to look for the next id, so that none comes again soon;
 *	     sb_sessions_mutex
 */
struct sb_net {
	struct xarray sessions;
	u32 next_id;
};

/* Guards the sessions of all namespaces, and session->net against the exit of a
 * namespace.
 */
DEFINE_MUTEX(sb_sessions_mutex);

/* The sessions of all namespaces, those whose namespace is gone included. */
LIST_HEAD(sb_sessions);

static unsigned int sb_net_id;
static struct workqueue_struct *sb_wq;

static struct sb_net *sb_net_of(const struct net *net)
{
	return net_generic(net, sb_net_id);
}

static u64 sb_session_tick(const struct sb_session *session, u64 ms)
{
	return div_u64(ms, session->tick_ms);
}

/**
 * sb_session_run - have the session's work done now
 * @session: the session
 *
 * Context: any.
 */
void sb_session_run(struct sb_session *session)
{
	queue_work(sb_wq, &session->work);
}

/**
 * sb_session_schedule - have the session's work done by a given time
 * @session: the session
 * @when_ms: the time; one in the past means at once
 *
 * Context: session->lock held, any.
 */
void sb_session_schedule(struct sb_session *session, u64 when_ms)
{
	lockdep_assert_held(&session->lock);

	if (session->closing || when_ms >= session->timer_ms)
		return;
	session->timer_ms = when_ms;
	if (when_ms <= sb_now_ms())
		sb_session_run(session);
	else
		hrtimer_start(&session->timer, ms_to_ktime(when_ms),
			      HRTIMER_MODE_ABS);
}

static void sb_session_schedule_wheel(struct sb_session *session)
{
	u64 tick = sb_wheel_next(&session->wheel);

	if (tick == SB_WHEEL_NEVER)
		return;
	/* What a tick left behind is for the next one. */
	if (tick <= session->wheel.now)
		tick = session->wheel.now + 1;
	sb_session_schedule(session, tick * session->tick_ms);
}

/**
 * sb_session_arm - put a peer on the wheel
 * @session: its session
 * @peer: a peer that is on no bucket
 * @when_ms: when to look at it
 *
 * Context: session->lock held, any.
 */
void sb_session_arm(struct sb_session *session, struct sb_peer *peer,
		    u64 when_ms)
{
	lockdep_assert_held(&session->lock);

	/* An empty wheel is not kept turning. */
	if (!session->wheel.count)
		sb_wheel_advance(&session->wheel,
				 sb_session_tick(session, sb_now_ms()));
	sb_wheel_add(&session->wheel, &peer->node,
		     sb_session_tick(session, when_ms + session->tick_ms - 1));
	if (!session->ticking)
		sb_session_schedule_wheel(session);
}

static enum hrtimer_restart sb_session_timer(struct hrtimer *timer)
{
	sb_session_run(container_of(timer, struct sb_session, timer));
	return HRTIMER_NORESTART;
}

/* One chunk of what is due; returns the number of peers looked at. */
static unsigned int sb_session_expire_chunk(struct sb_session *session,
					    unsigned int budget)
{
	u64 now_ms = sb_now_ms();
	struct sb_wheel_node *node;
	unsigned int n;

	sb_wheel_advance(&session->wheel, sb_session_tick(session, now_ms));
	for (n = 0; n < budget; n++) {
		node = sb_wheel_pop(&session->wheel);
		if (!node)
			break;
		sb_peer_check(container_of(node, struct sb_peer, node), now_ms);
	}
	session->stats.checks += n;
	return n;
}

static void sb_session_expire(struct sb_session *session)
{
	unsigned int budget = READ_ONCE(sb_max_expire_per_tick);
	unsigned int chunk, n;

	do {
		cond_resched();
		chunk = min_t(unsigned int, budget, SB_CHECK_CHUNK);
		spin_lock_bh(&session->lock);
		n = sb_session_expire_chunk(session, chunk);
		budget -= n;
		if (!budget &&
		    sb_wheel_next(&session->wheel) <= session->wheel.now)
			session->stats.postponed++;
		spin_unlock_bh(&session->lock);
		sb_offload_probe(session);
		sb_act_run(session);
	} while (n == chunk && budget);
}

static void sb_session_work(struct work_struct *work)
{
	struct sb_session *session =
		container_of(work, struct sb_session, work);
	u64 guard_ms, start_ns;
	bool more;

	if (!sb_user_begin_turn(session))
		return;
	start_ns = ktime_get_ns();
	spin_lock_bh(&session->lock);
	session->ticking = true;
	session->timer_ms = U64_MAX;
	spin_unlock_bh(&session->lock);

	sb_session_expire(session);
	spin_lock_bh(&session->lock);
	guard_ms = sb_act_guard(session, sb_now_ms());
	spin_unlock_bh(&session->lock);
	more = sb_event_flush(session);

	spin_lock_bh(&session->lock);
	session->ticking = false;
	sb_session_schedule(session, guard_ms);
	session->stats.ticks++;
	session->stats.tick_ns += ktime_get_ns() - start_ns;
	if (more)
		sb_session_schedule(session, (session->wheel.now + 1) * session->tick_ms);
	else if (session->portid && session->backoff_ms &&
		 sb_event_waits(session))
		sb_session_schedule(session, session->retry_ms);
	sb_session_schedule_wheel(session);
	spin_unlock_bh(&session->lock);
	sb_user_end_turn(session);
}

static __poll_t sb_session_poll(struct file *file, poll_table *table)
{
	struct sb_session *session = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &session->wait, table);
	spin_lock_bh(&session->lock);
	if (sb_event_waits(session))
		mask |= EPOLLIN;
	if (!session->net)
		mask |= EPOLLHUP;
	spin_unlock_bh(&session->lock);
	return mask;
}

/**
 * sb_session_set_port - change where a session's events go
 * @session: the session
 * @portid: the netlink port, 0 for none
 * @sk: the port's socket, of which a reference is taken; NULL for none
 *
 * Context: session->lock held.
 * Return: the socket of the port so far, for the caller to put when the lock
 * is dropped, or NULL.
 */
struct sock *sb_session_set_port(struct sb_session *session, u32 portid,
				 struct sock *sk)
{
	struct sock *old = session->port_sk;

	lockdep_assert_held(&session->lock);

	if (sk)
		sock_hold(sk);
	session->port_sk = sk;
	WRITE_ONCE(session->portid, portid);
	session->backoff_ms = 0;
	return old;
}

/* From now on nothing is told.  Who walks the namespace's list under RCU may
 * still come by, sb_port_closed() for one, and finds no port.
 */
static void sb_session_stop(struct sb_session *session)
{
	struct sock *sk;

	spin_lock_bh(&session->lock);
	WRITE_ONCE(session->closing, true);
	sk = sb_session_set_port(session, 0, NULL);
	spin_unlock_bh(&session->lock);
	if (sk)
		sock_put(sk);
	hrtimer_cancel(&session->timer);
	sb_user_forget_turn(session);
	cancel_work_sync(&session->work);
}

static void sb_session_untrack_all(struct sb_session *session)
{
	struct sock *socks[SB_FREE_CHUNK / 8];
	u32 index = 0;
	unsigned int n;

	while (index < session->fresh) {
		n = 0;
		spin_lock_bh(&session->lock);
		while (index < session->fresh && n < ARRAY_SIZE(socks)) {
			struct sb_peer *peer = session->slots[index++].peer;

			if (peer)
				socks[n] = sb_peer_untrack(peer);
			if (peer && socks[n])
				n++;
			if (index % SB_FREE_CHUNK == 0)
				break;
		}
		spin_unlock_bh(&session->lock);
		while (n)
			sock_put(socks[--n]);
		cond_resched();
	}
}

/* Undo sb_session_alloc(); the session has no peer and is on no list. */
static void sb_session_free(struct sb_session *session)
{
	u32 i;

	WARN_ON_ONCE(!list_empty(&session->parked));
	put_pid(session->pid);
	sb_slotpage_free(session);
	for (i = 0; i < ARRAY_SIZE(session->profile); i++)
		kfree(rcu_dereference_protected(session->profile[i], true));
	free_percpu(session->counts);
	kvfree(session->slots);
	sb_user_put(session->user, session->capacity);
	kfree_rcu(session, rcu);
}

static int sb_session_release(struct inode *inode, struct file *file)
{
	struct sb_session *session = file->private_data;

	mutex_lock(&sb_sessions_mutex);
	if (session->net)
		xa_erase(&sb_net_of(session->net)->sessions, session->id);
	mutex_unlock(&sb_sessions_mutex);

	sb_session_stop(session);
	sb_session_untrack_all(session);
	mutex_lock(&sb_sessions_mutex);
	list_del(&session->all);
	sb_sysfs_ended(session);
	mutex_unlock(&sb_sessions_mutex);
	sb_session_free(session);
	return 0;
}

static const struct file_operations sb_session_fops = {
	.owner = THIS_MODULE,
	.release = sb_session_release,
	.poll = sb_session_poll,
	.mmap = sb_slotpage_mmap,
	.llseek = noop_llseek,
};

/* Who may not see a session must not hold its file either: to let go of it may be
 * the last close, which is done when the sender returns, and it may see to it that
 * this takes long.
 */
static struct file *sb_session_hold(struct sk_buff *skb, struct sb_session *session)
{
	lockdep_assert_held(&sb_sessions_mutex);

	/* Its last close may be waiting for the mutex. */
	return sb_session_visible(skb, session) ? sb_get_live_file(&session->file) : NULL;
}

/**
 * sb_session_find - the session of an id
 * @skb: the request
 * @id: the id
 *
 * Context: process, may sleep.
 * Return: the file, held, or NULL where there is none that the sender may see.
 */
struct file *sb_session_find(struct sk_buff *skb, u32 id)
{
	struct sb_session *session;
	struct file *file = NULL;

	mutex_lock(&sb_sessions_mutex);
	session = xa_load(&sb_net_of(sock_net(skb->sk))->sessions, id);
	if (session)
		file = sb_session_hold(skb, session);
	mutex_unlock(&sb_sessions_mutex);
	return file;
}

/**
 * sb_session_next - the session that follows in a sender's namespace
 * @skb: the request
 * @id: an id
 *
 * Context: process, may sleep.
 * Return: the file, held, of the session that the sender may see with the least
 * id that is not less than @id, or NULL.
 */
struct file *sb_session_next(struct sk_buff *skb, u32 id)
{
	struct sb_net *sbn = sb_net_of(sock_net(skb->sk));
	struct sb_session *session;
	struct file *file = NULL;
	unsigned long index;

	mutex_lock(&sb_sessions_mutex);
	xa_for_each_start(&sbn->sessions, index, session, id) {
		file = sb_session_hold(skb, session);
		if (file)
			break;
	}
	mutex_unlock(&sb_sessions_mutex);
	return file;
}

/**
 * sb_session_of - the session of a file
 * @file: any file
 *
 * Return: the session, alive as long as the caller holds @file, or NULL where
 * the file is none of ours.
 */
struct sb_session *sb_session_of(const struct file *file)
{
	return file->f_op == &sb_session_fops ? file->private_data : NULL;
}

static struct sb_session *sb_session_alloc(u32 capacity, struct sb_user *user)
{
	struct sb_session *session;

	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session) {
		sb_user_put(user, capacity);
		return NULL;
	}
	session->user = user;
	spin_lock_init(&session->lock);
	INIT_LIST_HEAD(&session->ready);
	INIT_LIST_HEAD(&session->parked);
	init_waitqueue_head(&session->wait);
	INIT_WORK(&session->work, sb_session_work);
	hrtimer_setup(&session->timer, sb_session_timer, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS);
	session->capacity = capacity;
	session->tick_ms = READ_ONCE(sb_tick_ms);
	session->policy.timeout_ms = READ_ONCE(sb_default_timeout_ms);
	session->policy.renotify_ms = READ_ONCE(sb_renotify_ms);
	session->policy.action = READ_ONCE(sb_default_action);
	session->policy.act_after_ms = READ_ONCE(sb_act_after_ms);
	session->policy.suspect_percent = READ_ONCE(sb_suspect_percent);
	session->policy.adaptive_beats = READ_ONCE(sb_adaptive_beats);
	session->adaptive_min_ms = READ_ONCE(sb_adaptive_min_ms);
	session->guard.percent = READ_ONCE(sb_guard_percent);
	session->guard.window_ms = READ_ONCE(sb_guard_window_ms);
	session->guard.grain_ms = 2 * session->tick_ms;
	session->pid = get_pid(task_tgid(current));
	session->recycle_delay_ms = READ_ONCE(sb_recycle_delay_ms);
	session->first_generation = READ_ONCE(sb_first_generation);
	session->timer_ms = U64_MAX;
	session->free_head = SB_NO_SLOT;
	sb_wheel_init(&session->wheel, sb_session_tick(session, sb_now_ms()));
	session->slots = kvcalloc(capacity, sizeof(*session->slots),
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	session->counts = alloc_percpu_gfp(struct sb_counts, GFP_KERNEL_ACCOUNT);
	if (!session->slots || !session->counts || !sb_slotpage_alloc(session)) {
		sb_session_free(session);
		return NULL;
	}
	return session;
}

/**
 * sb_session_open - make a session and its file
 * @net: its namespace, held by the caller
 * @portid: netlink port in @net that its events go to
 * @sk: that port's socket
 * @capacity: slots, 1 to SOCKBEAT_MAX_CAPACITY
 * @why: set to a reason for users on failure
 *
 * Context: process, may sleep.
 * Return: the file, whose release ends the session, or an error pointer:
 * -EDQUOT, -ENOMEM, -ENFILE.
 */
struct file *sb_session_open(struct net *net, u32 portid, struct sock *sk,
			     u32 capacity, const char **why)
{
	struct sb_net *sbn = sb_net_of(net);
	struct sb_session *session;
	struct sb_user *user;
	struct file *file;
	int err;

	user = sb_user_get(capacity, why);
	if (IS_ERR(user))
		return ERR_CAST(user);
	session = sb_session_alloc(capacity, user);
	if (!session) {
		*why = "no memory for a session of this capacity";
		return ERR_PTR(-ENOMEM);
	}
	/* Nobody finds it by its id before it has a file. */
	mutex_lock(&sb_sessions_mutex);
	err = xa_alloc_cyclic(&sbn->sessions, &session->id, NULL, xa_limit_32b,
			      &sbn->next_id, GFP_KERNEL);
	mutex_unlock(&sb_sessions_mutex);
	if (err < 0) {
		*why = "no memory for a session's id";
		sb_session_free(session);
		return ERR_PTR(err);
	}
	file = anon_inode_getfile("[sockbeat]", &sb_session_fops, session,
				  O_RDWR);
	if (IS_ERR(file)) {
		*why = "no file for the session";
		xa_erase(&sbn->sessions, session->id);
		sb_session_free(session);
		return file;
	}
	spin_lock_bh(&session->lock);
	sb_session_set_port(session, portid, sk);
	spin_unlock_bh(&session->lock);
	mutex_lock(&sb_sessions_mutex);
	session->net = net;
	session->file = file;
	list_add(&session->all, &sb_sessions);
	xa_store(&sbn->sessions, session->id, session, GFP_KERNEL);
	mutex_unlock(&sb_sessions_mutex);
	return file;
}

/* A closed port's number may be taken by anyone: forget it at once.  By now it
 * may have been, and the session may even have been bound to the new owner, so
 * the socket decides and not the number.
 */
static int sb_port_closed(struct notifier_block *nb, unsigned long action,
			  void *data)
{
	struct netlink_notify *notify = data;
	struct sb_session *session;
	unsigned long index;
	struct sock *sk;

	if (action != NETLINK_URELEASE || notify->protocol != NETLINK_GENERIC)
		return NOTIFY_DONE;
	rcu_read_lock();
	xa_for_each(&sb_net_of(notify->net)->sessions, index, session) {
		if (READ_ONCE(session->portid) != notify->portid)
			continue;
		sk = NULL;
		spin_lock_bh(&session->lock);
		if (session->port_sk && sock_flag(session->port_sk, SOCK_DEAD))
			sk = sb_session_set_port(session, 0, NULL);
		spin_unlock_bh(&session->lock);
		/* Not the last reference: the socket is being released. */
		if (sk)
			sock_put(sk);
	}
	rcu_read_unlock();
	return NOTIFY_DONE;
}

static struct notifier_block sb_port_notifier = {
	.notifier_call = sb_port_closed,
};

static int __net_init sb_net_init(struct net *net)
{
	xa_init_flags(&sb_net_of(net)->sessions, XA_FLAGS_ALLOC1 | XA_FLAGS_ACCOUNT);
	return 0;
}

/* Every tracked socket of the namespace has ended before, or it would still
 * hold the namespace.
 */
static void __net_exit sb_net_exit(struct net *net)
{
	struct sb_net *sbn = sb_net_of(net);
	struct sb_session *session;
	unsigned long index;

	mutex_lock(&sb_sessions_mutex);
	xa_for_each(&sbn->sessions, index, session) {
		xa_erase(&sbn->sessions, index);
		sb_session_stop(session);
		spin_lock_bh(&session->lock);
		session->net = NULL;
		spin_unlock_bh(&session->lock);
		wake_up_interruptible_poll(&session->wait, EPOLLHUP);
	}
	mutex_unlock(&sb_sessions_mutex);
}

static struct pernet_operations sb_net_ops = {
	.init = sb_net_init,
	.exit = sb_net_exit,
	.id = &sb_net_id,
	.size = sizeof(struct sb_net),
};

int __init sb_session_init(void)
{
	int err;

	sb_wq = alloc_workqueue("sockbeat", WQ_UNBOUND, WQ_MAX_ACTIVE);
	if (!sb_wq)
		return -ENOMEM;
	err = register_pernet_subsys(&sb_net_ops);
	if (err)
		goto free_wq;
	err = netlink_register_notifier(&sb_port_notifier);
	if (err)
		goto unregister_net;
	return 0;

unregister_net:
	unregister_pernet_subsys(&sb_net_ops);
free_wq:
	destroy_workqueue(sb_wq);
	return err;
}

void sb_session_exit(void)
{
	netlink_unregister_notifier(&sb_port_notifier);
	unregister_pernet_subsys(&sb_net_ops);
	destroy_workqueue(sb_wq);
}
