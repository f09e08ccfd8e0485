// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done for a request on its sender's way back to userspace.
 *
 * Generic netlink holds a lock of its own around every request.  To shut down
 * or reset a socket takes the socket's lock, which its owner may keep for as
 * long as it likes, in a page fault for example: that has to wait until the
 * sender, and nobody else, waits with it.
 */
#include <linux/atomic.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/wait_bit.h>
#include <net/tcp.h>

#include "sockbeat.h"

/**
 * struct sb_later - what to do; its owner's alone
 * @work: for the sender's task
 * @n: entries of @end in use
 * @text: to be freed
 * @end: sockets, with a reference, and what to do to each
 */
struct sb_later {
	struct callback_head work;
	unsigned int n;
	char *text;
	struct {
		struct sock *sk;
		enum sockbeat_end end;
	} end[];
};

/* Those that some task still has to do; the module's text is needed for them. */
static atomic_t sb_laters;

/**
 * sb_later_new - make room for what will have to be done
 * @n: sockets that may be given to sb_later_end()
 *
 * Context: process, may sleep.
 * Return: it, to be given to sb_later_run(), or NULL.
 */
struct sb_later *sb_later_new(unsigned int n)
{
	struct sb_later *later;

	later = kvzalloc(struct_size(later, end, n), GFP_KERNEL_ACCOUNT);
	return later;
}

/**
 * sb_later_end - have a socket ended
 * @later: from sb_later_new()
 * @sk: the socket, with a reference that is taken over
 * @end: what to do to it
 *
 * Context: any.
 */
void sb_later_end(struct sb_later *later, struct sock *sk, enum sockbeat_end end)
{
	later->end[later->n].sk = sk;
	later->end[later->n++].end = end;
}

/* As inet_shutdown() does for a connected socket; that one wants a struct
 * socket, which a close() in another thread may take away.
 */
static void sb_later_shutdown(struct sock *sk)
{
	lock_sock(sk);
	if (!sock_flag(sk, SOCK_DEAD) && sk->sk_state != TCP_CLOSE) {
		WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
		sk->sk_prot->shutdown(sk, SHUTDOWN_MASK);
		sk->sk_state_change(sk);
		/* Where the owner had shut down its direction before, TCP's
		 * state does not change.
		 */
		sb_hook_end(sk);
	}
	release_sock(sk);
}

/**
 * sb_later_end_now - shut down or reset a socket
 * @sk: the socket
 * @end: which of it
 * @err: what the owner reads after a reset, positive
 *
 * Context: process, may sleep for as long as the socket's owner likes.
 */
void sb_later_end_now(struct sock *sk, enum sockbeat_end end, int err)
{
	if (end == SOCKBEAT_END_SHUTDOWN)
		sb_later_shutdown(sk);
	else if (end == SOCKBEAT_END_ABORT)
		tcp_abort(sk, err);
}

static void sb_later_do(struct sb_later *later)
{
	unsigned int i;

	for (i = 0; i < later->n; i++) {
		struct sock *sk = later->end[i].sk;

		sb_later_end_now(sk, later->end[i].end, ECONNABORTED);
		sock_put(sk);
		cond_resched();
	}
	kfree(later->text);
	kvfree(later);
}

static void sb_later_work(struct callback_head *work)
{
	sb_later_do(container_of(work, struct sb_later, work));
	if (atomic_dec_and_test(&sb_laters))
		wake_up_var(&sb_laters);
}

static bool sb_later_add(struct sb_later *later)
{
	init_task_work(&later->work, sb_later_work);
	atomic_inc(&sb_laters);
	if (!task_work_add(current, &later->work, TWA_RESUME))
		return true;
	atomic_dec(&sb_laters);
	return false;
}

/**
 * sb_later_run - do it before the current task is back in userspace
 * @later: from sb_later_new(), gone afterwards; NULL for nothing to do
 *
 * Context: process, may sleep.
 */
void sb_later_run(struct sb_later *later)
{
	if (!later)
		return;
	/* A task may have many requests behind it before it returns.  One that
	 * is past its last return cannot take it.
	 */
	if (!later->n || !sb_later_add(later))
		sb_later_do(later);
}

#ifdef SB_COMPAT_EXTACK_TEXT
/**
 * sb_later_text - a text that lasts until the request has been answered
 * @fmt: as for printf()
 *
 * For kernels whose extended acknowledgements take no format.
 *
 * Context: process, may sleep.
 * Return: the text, or @fmt where there is no memory for it.
 */
const char *sb_later_text(const char *fmt, ...)
{
	struct sb_later *later = sb_later_new(0);
	va_list args;

	if (!later)
		return fmt;
	va_start(args, fmt);
	later->text = kvasprintf(GFP_KERNEL_ACCOUNT, fmt, args);
	va_end(args);
	if (later->text && sb_later_add(later))
		return later->text;
	sb_later_do(later);
	return fmt;
}
#endif

/**
 * sb_later_exit - wait until no task has anything of ours to do
 *
 * Context: process, may sleep.
 */
void sb_later_exit(void)
{
	wait_var_event(&sb_laters, !atomic_read(&sb_laters));
	/* The last one may have been preempted just before its return. */
	synchronize_rcu_tasks();
}
