// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl list: peers, printed as the kernel sends them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/genetlink.h>

#include "ctl.h"

/**
 * struct list - a list that is under way
 * @filter: which peers
 * @json: as an array of objects
 * @no_header: without the line of column names
 * @rows: printed so far
 * @ctl: the module
 * @session: whose peers come now
 * @process: its process
 */
struct list {
	struct ctl_filter filter;
	bool json;
	bool no_header;
	unsigned long rows;
	struct ctl ctl;
	const struct ctl_session *session;
	char process[CTL_TEXT_CHARS];
};

#define ROW	"%-9s %10s %10s %-23s %-23s %-12s %7s %s\n"

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "Print a JSON array, an object a line", 0 },
	{ "no-header", 'H', NULL, 0, "Without the line of column names", 0 },
	{ "ipv4", '4', NULL, 0, "The same as family=inet", 0 },
	{ "ipv6", '6', NULL, 0, "The same as family=inet6", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct list *list = state->input;
	const char *why = NULL;

	switch (key) {
	case 'j':
		list->json = true;
		break;
	case 'H':
		list->no_header = true;
		break;
	case '4':
	case '6':
		arg = key == '4' ? "-4" : "-6";
		why = ctl_filter_family(&list->filter, key == '4' ? AF_INET : AF_INET6);
		break;
	case ARGP_KEY_ARG:
		why = ctl_filter_parse(&list->filter, arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (why)
		argp_error(state, "\"%s\": %s", arg, why);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[FILTER...]",
	.doc = "List peers that fit all filters:\n"
	       "  state=live,silent,gone,recycling\n"
	       "  idle=TIME (ms, s, m, h): not heard for at least so long\n"
	       "  family=inet|inet6\n"
	       "  local=ADDRESS[/PREFIX][:PORT], remote=..., [IPV6]/PREFIX:PORT, :PORT\n"
	       "  session=ID, pid=PID, process=NAME",
};

/* One end of a connection, or - where its socket is gone. */
static const char *end_text(const struct ctl_attrs *attrs, unsigned int addr, unsigned int port,
			    char text[ADDRESS_CHARS])
{
	const struct nlattr *attr = attrs->tb[addr];
	union address end = { 0 };
	size_t len = attr ? mnl_attr_get_payload_len(attr) : 0;

	if (len == sizeof(end.in.sin_addr)) {
		end.in.sin_family = AF_INET;
		memcpy(&end.in.sin_addr, mnl_attr_get_payload(attr), len);
		end.in.sin_port = htons(ctl_attrs_number(attrs, port));
	} else if (len == sizeof(end.in6.sin6_addr)) {
		end.in6.sin6_family = AF_INET6;
		memcpy(&end.in6.sin6_addr, mnl_attr_get_payload(attr), len);
		end.in6.sin6_port = htons(ctl_attrs_number(attrs, port));
	} else {
		return "-";
	}
	return address_format(&end, text);
}

static const char *peer_text(const struct ctl_attrs *attrs, unsigned int type,
			     char text[CTL_TEXT_CHARS])
{
	const struct ctl_field *field = ctl_peer_fields;

	while (field->type != type)
		field++;
	return ctl_field_text(field, attrs, text);
}

static void print_row(const struct list *list, const struct ctl_attrs *peer)
{
	char state[CTL_TEXT_CHARS], idle[CTL_TEXT_CHARS], limit[CTL_TEXT_CHARS];
	char local[ADDRESS_CHARS], remote[ADDRESS_CHARS];
	char handle[CTL_TEXT_CHARS], session[16];

	snprintf(session, sizeof(session), "%u", list->session->id);
	printf(ROW, peer_text(peer, SOCKBEAT_A_PEER_STATE, state),
	       peer_text(peer, SOCKBEAT_A_PEER_IDLE_MS, idle),
	       peer_text(peer, SOCKBEAT_A_PEER_LIMIT_MS, limit),
	       end_text(peer, SOCKBEAT_A_PEER_LOCAL_ADDR, SOCKBEAT_A_PEER_LOCAL_PORT, local),
	       end_text(peer, SOCKBEAT_A_PEER_REMOTE_ADDR, SOCKBEAT_A_PEER_REMOTE_PORT, remote),
	       peer_text(peer, SOCKBEAT_A_PEER_HANDLE, handle), session, list->process);
}

static int take_peer(const void *data, size_t len, void *arg)
{
	struct ctl_attrs message, peer;
	struct list *list = arg;

	/* With the first message of a part, what the one before brought. */
	if (data == list->ctl.ch.rx + MNL_NLMSG_HDRLEN + GENL_HDRLEN)
		fflush(stdout);
	ctl_attrs_parse(&message, data, len);
	ctl_attrs_nested(&peer, message.tb[SOCKBEAT_A_SESSION_PEER]);
	if (!peer.tb[SOCKBEAT_A_PEER_HANDLE])
		return -EBADMSG;
	if (list->json)
		ctl_print_element(ctl_peer_json(list->session, &peer), !list->rows);
	else
		print_row(list, &peer);
	if (!list->rows++)
		fflush(stdout);
	/* Nobody reads on. */
	return ferror(stdout) ? -EPIPE : 0;
}

static int list_session(struct list *list, const struct ctl_session *session)
{
	struct nlmsghdr *nlh;
	char what[32];
	int err;

	list->session = session;
	ctl_session_process(session, list->process);
	nlh = ctl_session_request(&list->ctl, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP, session->id);
	ctl_filter_put(nlh, &list->filter);
	err = channel_request(&list->ctl.ch, nlh, take_peer, list);
	/* It ended since the sessions were listed. */
	if (!err || (err == -ENOENT && !list->filter.has_session))
		return CTL_DONE;
	snprintf(what, sizeof(what), "session %u", session->id);
	return ctl_request_failed(&list->ctl, what, err);
}

static bool wants(const struct ctl_filter *filter, const struct ctl_session *session)
{
	if (filter->has_session && session->id != filter->session)
		return false;
	if (filter->pid && session->pid != filter->pid)
		return false;
	return !filter->process || !strcmp(filter->process, session->comm) ||
	       !strcmp(filter->process, session->raw_comm);
}

static int list_sessions(struct list *list, const struct ctl_sessions *sessions)
{
	const struct ctl_filter *filter = &list->filter;
	int status = CTL_DONE;
	bool found = false;

	for (size_t i = 0; status == CTL_DONE && i < sessions->n; i++) {
		if (!wants(filter, &sessions->at[i]))
			continue;
		found = true;
		status = list_session(list, &sessions->at[i]);
	}
	if (found || (!filter->has_session && !filter->pid && !filter->process))
		return status;
	if (filter->has_session && !ctl_sessions_find(sessions, filter->session))
		return ctl_session_unknown(filter->session);
	return ctl_fail("no session that you may see is of this process");
}

int ctl_list(int argc, char **argv)
{
	static struct list list;
	struct ctl_sessions sessions;
	int status;

	ctl_filter_init(&list.filter);
	ctl_parse(&argp, argc, argv, &list);
	if (ctl_open(&list.ctl))
		return CTL_FAILED;
	status = ctl_sessions_get(&list.ctl, &sessions);
	if (status == CTL_DONE) {
		if (list.json)
			putchar('[');
		else if (!list.no_header)
			printf(ROW, "State", "Idle-ms", "Timeout-ms", "Local", "Peer", "Handle",
			       "Session", "Process");
		status = list_sessions(&list, &sessions);
		if (list.json)
			fputs(list.rows ? "\n]\n" : "]\n", stdout);
	}
	ctl_sessions_free(&sessions);
	ctl_close(&list.ctl);
	return status;
}
