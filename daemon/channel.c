// SPDX-License-Identifier: BSD-3-Clause
/*
 * Requests over generic netlink and the answers to them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "channel.h"

/**
 * channel_open - make a netlink socket
 * @ch: filled in
 * @socket_flags: SOCK_NONBLOCK for one that must not wait
 *
 * Return: 0 or a negative errno, with a text.
 */
int channel_open(struct channel *ch, int socket_flags)
{
	static const int options[] = {
		NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK, NETLINK_NO_ENOBUFS,
	};
	unsigned int i;
	int one = 1;
	int err;

	ch->text[0] = '\0';
	ch->nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC | socket_flags);
	if (!ch->nl || mnl_socket_bind(ch->nl, 0, MNL_SOCKET_AUTOPID)) {
		err = -errno;
		snprintf(ch->text, sizeof(ch->text), "netlink socket: %s", strerror(-err));
		channel_close(ch);
		return err;
	}
	/* An old kernel does without; what it then tells is less. */
	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		mnl_socket_setsockopt(ch->nl, options[i], &one, sizeof(one));
	ch->port = mnl_socket_get_portid(ch->nl);
	return 0;
}

/**
 * channel_close - undo channel_open()
 * @ch: the channel, open or zeroed
 */
void channel_close(struct channel *ch)
{
	if (ch->nl)
		mnl_socket_close(ch->nl);
	ch->nl = NULL;
}

/**
 * channel_begin - begin a request
 * @ch: the channel
 * @family: whom it is for
 * @cmd: what is wanted
 * @flags: NLM_F_ACK, NLM_F_DUMP or 0
 *
 * Return: the request, for attributes to be added.
 */
struct nlmsghdr *channel_begin(struct channel *ch, uint16_t family, uint8_t cmd, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(ch->tx);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = family;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++ch->seq;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = 1;
	return nlh;
}

/**
 * channel_send - send a request without waiting for an answer
 * @ch: the channel
 * @nlh: from channel_begin()
 *
 * The kernel has carried it out when this returns.
 *
 * Return: 0 or a negative errno, with a text.
 */
int channel_send(struct channel *ch, const struct nlmsghdr *nlh)
{
	int err;

	ch->bad_offset = 0;
	ch->text[0] = '\0';
	while (mnl_socket_sendto(ch->nl, nlh, nlh->nlmsg_len) < 0) {
		if (errno == EINTR)
			continue;
		err = -errno;
		snprintf(ch->text, sizeof(ch->text), "netlink send: %s", strerror(-err));
		return err;
	}
	return 0;
}

static int receive_failed(struct channel *ch, int err)
{
	snprintf(ch->text, sizeof(ch->text), "netlink receive: %s", strerror(-err));
	return err;
}

/**
 * channel_receive - take one datagram from the kernel into @rx
 * @ch: the channel
 *
 * Return: its length, or a negative errno, with a text: -EAGAIN where there
 * is none and the socket does not wait.
 */
int channel_receive(struct channel *ch)
{
	struct sockaddr_nl from = { 0 };
	socklen_t len;
	ssize_t got;

	for (;;) {
		len = sizeof(from);
		got = recvfrom(mnl_socket_get_fd(ch->nl), ch->rx, sizeof(ch->rx), MSG_TRUNC,
			       (struct sockaddr *)&from, &len);
		if (got < 0 && errno != EINTR)
			return receive_failed(ch, -errno);
		/* Only the kernel has anything to say here. */
		if (got < 0 || len != sizeof(from) || from.nl_pid)
			continue;
		return (size_t)got > sizeof(ch->rx) ? receive_failed(ch, -EMSGSIZE) : got;
	}
}

/**
 * attrs_parse - sort attributes by type
 * @attrs: the first
 * @len: of them all
 * @tb: set to the last attribute of each type, NULL for none
 * @max: the highest type in @tb; others are ignored
 *
 * Return: 0 or -EBADMSG.
 */
int attrs_parse(const void *attrs, size_t len, const struct nlattr **tb, unsigned int max)
{
	const struct nlattr *attr = attrs;
	unsigned int type;
	int left = len;

	for (type = 0; type <= max; type++)
		tb[type] = NULL;
	for (; mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
		type = mnl_attr_get_type(attr);
		if (type <= max)
			tb[type] = attr;
		left -= MNL_ALIGN(attr->nla_len);
	}
	return left > 0 ? -EBADMSG : 0;
}

/**
 * attr_read - read a number
 * @attr: the attribute, or NULL
 * @value: where to, untouched without the attribute
 * @size: of it
 *
 * Return: false where the attribute has another size.
 */
bool attr_read(const struct nlattr *attr, void *value, size_t size)
{
	if (!attr)
		return true;
	if (mnl_attr_get_payload_len(attr) != size)
		return false;
	memcpy(value, mnl_attr_get_payload(attr), size);
	return true;
}

/* "(100..604800000)", if the kernel sent the policy that was not met. */
static void read_policy(char *text, size_t size, const struct nlattr *policy)
{
	const struct nlattr *tb[NL_POLICY_TYPE_ATTR_MAX_VALUE_U + 1];
	uint64_t min = 0, max = 0;

	if (!policy || attrs_parse(mnl_attr_get_payload(policy), mnl_attr_get_payload_len(policy),
				   tb, NL_POLICY_TYPE_ATTR_MAX_VALUE_U))
		return;
	if (!tb[NL_POLICY_TYPE_ATTR_MAX_VALUE_U])
		return;
	if (attr_read(tb[NL_POLICY_TYPE_ATTR_MIN_VALUE_U], &min, sizeof(min)) &&
	    attr_read(tb[NL_POLICY_TYPE_ATTR_MAX_VALUE_U], &max, sizeof(max)))
		snprintf(text, size, " (%llu..%llu)", (unsigned long long)min,
			 (unsigned long long)max);
}

static void read_extack(struct channel *ch, const void *attrs, size_t len)
{
	const struct nlattr *tb[NLMSGERR_ATTR_POLICY + 1];
	const struct nlattr *text;
	char range[48] = "";

	if (attrs_parse(attrs, len, tb, NLMSGERR_ATTR_POLICY))
		return;
	attr_read(tb[NLMSGERR_ATTR_OFFS], &ch->bad_offset, sizeof(ch->bad_offset));
	read_policy(range, sizeof(range), tb[NLMSGERR_ATTR_POLICY]);
	text = tb[NLMSGERR_ATTR_MSG];
	if (text)
		snprintf(ch->text, sizeof(ch->text), "%.*s%s",
			 (int)mnl_attr_get_payload_len(text),
			 (const char *)mnl_attr_get_payload(text), range);
}

/**
 * channel_read_error - what an NLMSG_ERROR or NLMSG_DONE says
 * @ch: the channel; its text and bad_offset are set
 * @nlh: the message
 *
 * Return: 0 for an acknowledgement, else a negative errno.
 */
int channel_read_error(struct channel *ch, const struct nlmsghdr *nlh)
{
	const char *payload = mnl_nlmsg_get_payload(nlh);
	size_t len = mnl_nlmsg_get_payload_len(nlh);
	size_t skip = sizeof(int);
	struct nlmsgerr head;
	int err = 0;

	if (len >= sizeof(err))
		memcpy(&err, payload, sizeof(err));
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		if (len < sizeof(head) || err > 0)
			return receive_failed(ch, -EBADMSG);
		memcpy(&head, payload, sizeof(head));
		skip = sizeof(head);
		/* The request is sent back whole unless it was capped. */
		if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && head.msg.nlmsg_len > MNL_NLMSG_HDRLEN)
			skip += MNL_ALIGN(head.msg.nlmsg_len - MNL_NLMSG_HDRLEN);
	}
	if (err >= 0)
		return 0;
	snprintf(ch->text, sizeof(ch->text), "%s", strerror(-err));
	if ((nlh->nlmsg_flags & NLM_F_ACK_TLVS) && len > skip)
		read_extack(ch, payload + skip, len - skip);
	return err;
}

/* One message of the answer; *@done is set by the last, and by any that is not
 * to be acknowledged.
 */
static int take(struct channel *ch, const struct nlmsghdr *nlh, channel_cb cb, void *arg,
		bool *done)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
	int err;

	/* Left over from a request that was given up. */
	if (nlh->nlmsg_seq != ch->seq)
		return 0;
	if (nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) {
		*done = true;
		return channel_read_error(ch, nlh);
	}
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*genl))
		return receive_failed(ch, -EBADMSG);
	err = cb ? cb(genl + 1, mnl_nlmsg_get_payload_len(nlh) - sizeof(*genl), arg) : 0;
	if (err == -EBADMSG)
		return receive_failed(ch, err);
	if (!err && (nlh->nlmsg_flags & NLM_F_DUMP_INTR)) {
		snprintf(ch->text, sizeof(ch->text), "the table changed while it was read");
		return -EINTR;
	}
	*done = !ch->is_acked;
	return err;
}

/**
 * channel_request - send a request and wait for all of its answer
 * @ch: the channel
 * @nlh: from channel_begin(), with NLM_F_ACK or NLM_F_DUMP, or without for one
 *	 that is answered by one message or an error: what must not be done
 *	 unnoticed, since an acknowledgement may fail for want of memory
 * @cb: called for each message of the answer, or NULL
 * @arg: for @cb
 *
 * Return: 0, what @cb returned, or a negative errno, with a text.
 */
int channel_request(struct channel *ch, const struct nlmsghdr *nlh, channel_cb cb, void *arg)
{
	const struct nlmsghdr *msg;
	bool done = false;
	int err, left;

	ch->is_acked = nlh->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP);
	err = channel_send(ch, nlh);
	while (!err && !done) {
		left = channel_receive(ch);
		if (left < 0)
			return left;
		msg = (const struct nlmsghdr *)ch->rx;
		for (; !err && !done && mnl_nlmsg_ok(msg, left); msg = mnl_nlmsg_next(msg, &left))
			err = take(ch, msg, cb, arg, &done);
		if (!err && !done && left > 0)
			return receive_failed(ch, -EBADMSG);
	}
	return err;
}

/**
 * channel_resolve - ask for a generic netlink family
 * @ch: the channel
 * @family: its name; a module that has it is loaded, where it is installed
 * @cb: takes the answer
 * @arg: for @cb
 *
 * Return: as channel_request(), -ENOENT where there is no such family.
 */
int channel_resolve(struct channel *ch, const char *family, channel_cb cb, void *arg)
{
	struct nlmsghdr *nlh = channel_begin(ch, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, family);
	return channel_request(ch, nlh, cb, arg);
}
