// SPDX-License-Identifier: GPL-2.0-only
/*
 * The family, and the requests on sessions, as uapi/sockbeat.yaml describes
 * them.
 *
 * Policies and the op table are generated into genl.c.  A request names its
 * session by fd; whoever holds the fd may command it.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/pid.h>
#include <net/sock.h>

#include "netlink.h"

/**
 * sb_extack - say why a request failed
 * @extack: where to, may be NULL
 * @attr: the attribute at fault, or NULL
 * @why: a string constant
 *
 * For reasons that are known at run time only; the macros take literals.
 */
void sb_extack(struct netlink_ext_ack *extack, const struct nlattr *attr,
	       const char *why)
{
	if (!extack)
		return;
	extack->_msg = why;
	extack->bad_attr = attr;
}

/* Fds are looked up in the sender's table. A netlink socket that was handed
 * to a more privileged program must not make that program act on its own fds,
 * so the sender has to be whom the socket's opener was, or the opener had the
 * privilege anyway: where the sender is, not in a namespace of his own making.
 */
static bool sb_sender_trusted(const struct sk_buff *skb,
			      struct netlink_ext_ack *extack)
{
	const struct sock *sk = NETLINK_CB(skb).sk;
	const struct file *opener = NULL;

	if (sk && sk->sk_socket)
		opener = sk->sk_socket->file;
	if (opener &&
	    (uid_eq(opener->f_cred->euid, current_euid()) ||
	     file_ns_capable(opener, current_user_ns(), CAP_NET_ADMIN)))
		return true;
	NL_SET_ERR_MSG(extack, "netlink socket was opened by another user");
	return false;
}

/**
 * sb_session_visible - whether a sender may see and command a session by its id
 * @skb: the request
 * @session: a session in the sender's namespace
 *
 * The user who made it may, and who administers the network namespace.
 */
bool sb_session_visible(struct sk_buff *skb, const struct sb_session *session)
{
	kuid_t uid = sb_user_uid(session->user);
	const struct sock *sk = NETLINK_CB(skb).sk;

	if (netlink_net_capable(skb, CAP_NET_ADMIN))
		return true;
	return uid_eq(uid, current_euid()) && sk->sk_socket && sk->sk_socket->file &&
	       uid_eq(uid, sk->sk_socket->file->f_cred->euid);
}

/* Who may not see a session is told what is told of one that is not there. */
static struct file *sb_session_by_id(struct sk_buff *skb, const struct nlattr *attr,
				     struct netlink_ext_ack *extack)
{
	struct file *file = sb_session_find(skb, nla_get_u32(attr));

	if (file)
		return file;
	NL_SET_ERR_MSG_ATTR(extack, attr, "no session has this id");
	return ERR_PTR(-ENOENT);
}

static struct file *sb_session_by_fd(struct sk_buff *skb, const struct nlattr *attr,
				     struct netlink_ext_ack *extack)
{
	struct file *file;

	if (!sb_sender_trusted(skb, extack))
		return ERR_PTR(-EPERM);
	file = fget(nla_get_s32(attr));
	if (!file) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "session fd is not open");
		return ERR_PTR(-EBADF);
	}
	if (!sb_session_of(file)) {
		fput(file);
		NL_SET_ERR_MSG_ATTR(extack, attr, "fd is not a sockbeat session");
		return ERR_PTR(-EINVAL);
	}
	return file;
}

/**
 * sb_session_file - the file that a request names as its session
 * @skb: the request
 * @nlh: its message, of whose attributes fd or id names the session; a request
 *	 that takes no id has been refused where it has one
 * @extack: for a reason
 *
 * What the session's receiver was told before has taken effect then.
 *
 * Context: process, may sleep.
 * Return: a session's file, to be put by the caller, or an error pointer:
 * -EINVAL, -EBADF, -EPERM, -ENOENT.
 */
struct file *sb_session_file(struct sk_buff *skb, const struct nlmsghdr *nlh,
			     struct netlink_ext_ack *extack)
{
	/* The table of attributes is no longer than a request's policy. */
	const struct nlattr *attr = nlmsg_find_attr(nlh, GENL_HDRLEN, SOCKBEAT_A_SESSION_FD);
	const struct nlattr *id = nlmsg_find_attr(nlh, GENL_HDRLEN, SOCKBEAT_A_SESSION_ID);
	struct file *file;

	if (attr && id) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "request names its session twice");
		return ERR_PTR(-EINVAL);
	}
	if (!attr && !id) {
		NL_SET_ERR_MSG(extack, "request names no session fd");
		return ERR_PTR(-EINVAL);
	}
	file = id ? sb_session_by_id(skb, id, extack) :
		    sb_session_by_fd(skb, attr, extack);
	if (!IS_ERR(file))
		sb_event_wait(sb_session_of(file));
	return file;
}

/**
 * sb_request_is_last - whether no other request of the sender's buffer follows
 * @skb: the request
 * @nlh: its message
 *
 * Generic netlink holds a lock, for which whoever loads a family waits, through
 * all requests of a buffer: what takes long is only done for the last.
 */
bool sb_request_is_last(const struct sk_buff *skb, const struct nlmsghdr *nlh)
{
	return skb->len <= NLMSG_ALIGN(nlh->nlmsg_len);
}

/**
 * sb_dump_may_run - whether a dump may take its time
 * @cb: the dump; told why where it may not
 *
 * Much may have to be looked at of which the sender is shown nothing.
 */
bool sb_dump_may_run(struct netlink_callback *cb)
{
	if (sb_request_is_last(cb->skb, cb->nlh))
		return true;
	sb_extack(cb->extack, NULL, "a dump has to be the last request of its buffer");
	return false;
}

/**
 * sb_request_end - let go of what sb_request_begin() took
 * @req: the request
 */
void sb_request_end(struct sb_request *req)
{
	kvfree(req->entry);
	if (!IS_ERR_OR_NULL(req->file))
		fput(req->file);
}

/**
 * sb_request_begin - find a request's session and read its batch
 * @req: filled in
 * @skb: the request
 * @info: the request
 * @key: bit of the attribute that every peer must have, 0 for no batch
 * @allowed: bits of the attributes that it may have
 *
 * Context: process, may sleep.
 * Return: 0, to be followed by sb_request_end(), or an error with a reason in
 * extack.
 */
int sb_request_begin(struct sb_request *req, struct sk_buff *skb,
		     struct genl_info *info, unsigned long key,
		     unsigned long allowed)
{
	int err = 0;

	memset(req, 0, sizeof(*req));
	req->file = sb_session_file(skb, info->nlhdr, info->extack);
	if (IS_ERR(req->file))
		return PTR_ERR(req->file);
	req->session = sb_session_of(req->file);
	if (key)
		err = sb_request_entries(req, info, key, allowed);
	if (err)
		sb_request_end(req);
	return err;
}

/**
 * sb_request_kick - try again to send what waits
 * @session: the session
 *
 * A request is a sign that the holder is awake.
 *
 * Context: session->lock held.
 */
void sb_request_kick(struct sb_session *session)
{
	if (!sb_event_waits(session))
		return;
	session->backoff_ms = 0;
	sb_session_schedule(session, 0);
}

/**
 * sb_reply_new - begin a reply
 * @info: the request
 * @payload: room for attributes, in bytes
 * @header: set to what genlmsg_end() wants
 *
 * Context: process, may sleep.
 * Return: the reply, or NULL.
 */
struct sk_buff *sb_reply_new(struct genl_info *info, size_t payload,
			     void **header)
{
	struct sk_buff *skb = genlmsg_new(payload, GFP_KERNEL);

	if (!skb)
		return NULL;
	*header = genlmsg_put_reply(skb, info, &sb_family, 0,
				    info->genlhdr->cmd);
	if (!*header) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

static struct sk_buff *sb_reply_session(struct sb_session *session,
					struct genl_info *info, int fd)
{
	struct sk_buff *skb;
	int err;
	void *header;

	skb = sb_reply_new(info, NLMSG_DEFAULT_SIZE, &header);
	if (!skb)
		return NULL;
	spin_lock_bh(&session->lock);
	err = (fd >= 0 && nla_put_s32(skb, SOCKBEAT_A_SESSION_FD, fd)) ||
	      sb_put_session(skb, session);
	spin_unlock_bh(&session->lock);
	if (err) {
		nlmsg_free(skb);
		return NULL;
	}
	genlmsg_end(skb, header);
	return skb;
}

static bool sb_get_u32(struct nlattr **attrs, unsigned int type, u32 *value)
{
	if (attrs[type])
		*value = nla_get_u32(attrs[type]);
	return attrs[type];
}

/* Settings that session-new and session-set share. */
static void sb_session_conf(struct sb_session *session, struct nlattr **attrs)
{
	struct sb_policy *policy = &session->policy;
	struct sb_guard *guard = &session->guard;
	u32 value;

	spin_lock_bh(&session->lock);
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_TIMEOUT_MS, &policy->timeout_ms);
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_RENOTIFY_MS, &policy->renotify_ms);
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_ACT_AFTER_MS, &policy->act_after_ms);
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_SOURCE, &value))
		policy->source = value;
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_TRIGGER, &value))
		policy->trigger = value;
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_ACTION, &value))
		policy->action = value;
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_SUSPECT_PERCENT, &value))
		policy->suspect_percent = value;
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_ADAPTIVE_BEATS, &value))
		policy->adaptive_beats = value;
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS, &session->adaptive_min_ms);
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS, &session->recycle_delay_ms);
	sb_get_u32(attrs, SOCKBEAT_A_SESSION_GUARD_WINDOW_MS, &guard->window_ms);
	/* What was set may be the guard's end. */
	if (sb_get_u32(attrs, SOCKBEAT_A_SESSION_GUARD_PERCENT, &guard->percent) &&
	    guard->active)
		sb_session_schedule(session, 0);
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
}

int sockbeat_nl_session_new_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	const char *why = NULL;
	struct sk_buff *reply;
	struct file *file;
	int fd, err;

	if (GENL_REQ_ATTR_CHECK(info, SOCKBEAT_A_SESSION_CAPACITY)) {
		NL_SET_ERR_MSG(info->extack, "session-new without capacity");
		return -EINVAL;
	}
	if (!sb_sender_trusted(skb, info->extack))
		return -EPERM;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = sb_session_open(genl_info_net(info), info->snd_portid,
			       NETLINK_CB(skb).sk,
			       nla_get_u32(info->attrs[SOCKBEAT_A_SESSION_CAPACITY]),
			       &why);
	if (IS_ERR(file)) {
		sb_extack(info->extack, NULL, why);
		err = PTR_ERR(file);
		goto put_fd;
	}
	session = sb_session_of(file);
	sb_session_conf(session, info->attrs);
	reply = sb_reply_session(session, info, fd);
	if (!reply) {
		err = -ENOMEM;
		goto put_file;
	}
	err = genlmsg_reply(reply, info);
	if (err)
		goto put_file;
	fd_install(fd, file);
	return 0;

put_file:
	fput(file);
put_fd:
	put_unused_fd(fd);
	return err;
}

int sockbeat_nl_session_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_request req;
	struct sk_buff *reply;
	int err, fd = -1;

	err = sb_request_begin(&req, skb, info, 0, 0);
	if (err)
		return err;
	if (info->attrs[SOCKBEAT_A_SESSION_FD])
		fd = nla_get_s32(info->attrs[SOCKBEAT_A_SESSION_FD]);
	reply = sb_reply_session(req.session, info, fd);
	spin_lock_bh(&req.session->lock);
	sb_request_kick(req.session);
	spin_unlock_bh(&req.session->lock);
	sb_request_end(&req);
	return reply ? genlmsg_reply(reply, info) : -ENOMEM;
}

/* Sessions begin and end meanwhile; one that lives throughout is shown once. */
int sockbeat_nl_session_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct file *file;
	int err = 0;

	if (!sb_dump_may_run(cb))
		return -EBUSY;
	while (!err && cb->args[0] <= U32_MAX &&
	       (file = sb_session_next(cb->skb, cb->args[0]))) {
		struct sb_session *session = sb_session_of(file);
		void *header;

		header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid,
				     cb->nlh->nlmsg_seq, &sb_family,
				     NLM_F_MULTI, SOCKBEAT_CMD_SESSION_GET);
		if (!header)
			err = -EMSGSIZE;
		spin_lock_bh(&session->lock);
		if (!err)
			err = sb_put_session(skb, session);
		spin_unlock_bh(&session->lock);
		if (err && header)
			genlmsg_cancel(skb, header);
		else if (!err)
			genlmsg_end(skb, header);
		if (!err)
			cb->args[0] = (long)session->id + 1;
		fput(file);
	}
	return skb->len ?: err;
}

int sockbeat_nl_session_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_request req;
	int err;

	err = sb_request_begin(&req, skb, info, 0, 0);
	if (err)
		return err;
	sb_session_conf(req.session, info->attrs);
	sb_request_end(&req);
	return 0;
}

int sockbeat_nl_session_bind_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	struct sb_request req;
	struct sock *old = NULL;
	struct pid *pid;
	int err;

	err = sb_request_begin(&req, skb, info, 0, 0);
	if (err)
		return err;
	pid = get_pid(task_tgid(current));
	session = req.session;
	spin_lock_bh(&session->lock);
	if (session->net && net_eq(session->net, genl_info_net(info))) {
		old = sb_session_set_port(session, info->snd_portid,
					  NETLINK_CB(skb).sk);
		swap(session->pid, pid);
		sb_request_kick(session);
	} else {
		err = session->net ? -EXDEV : -ENETDOWN;
		sb_extack(info->extack, NULL, session->net ?
			  "session belongs to another network namespace" :
			  "the session's network namespace is gone");
	}
	spin_unlock_bh(&session->lock);
	if (old)
		sock_put(old);
	put_pid(pid);
	sb_request_end(&req);
	return err;
}

/* What all sessions of a namespace tell their holders. */
static const struct genl_multicast_group sb_groups[] = {
	[SOCKBEAT_NLGRP_MONITOR] = {
		.name	= SOCKBEAT_MCGRP_MONITOR,
		.flags	= GENL_MCAST_CAP_NET_ADMIN,
	},
};

struct genl_family sb_family __ro_after_init = {
	.name		= SOCKBEAT_FAMILY_NAME,
	.version	= SOCKBEAT_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.mcgrps		= sb_groups,
	.n_mcgrps	= ARRAY_SIZE(sb_groups),
#ifndef SB_COMPAT_GENL_OPS
	.split_ops	= sockbeat_nl_ops,
	.n_split_ops	= ARRAY_SIZE(sockbeat_nl_ops),
#endif
};

int __init sb_netlink_init(void)
{
#ifdef SB_COMPAT_GENL_OPS
	static struct genl_ops ops[ARRAY_SIZE(sockbeat_nl_ops)] __ro_after_init;

	sb_family.ops = ops;
	sb_family.n_ops = sb_compat_join_ops(ops, sockbeat_nl_ops,
					     ARRAY_SIZE(sockbeat_nl_ops));
#endif
	return genl_register_family(&sb_family);
}

void sb_netlink_exit(void)
{
	genl_unregister_family(&sb_family);
}
