// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl: the sessions that the caller may see.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

/* What a process calls itself may be anything; what is shown is one word. */
static void read_comm(struct ctl_session *session)
{
	char path[48], *c;
	size_t len = 0;
	FILE *f;

	strcpy(session->comm, "-");
	if (!session->pid)
		return;
	snprintf(path, sizeof(path), "/proc/%u/comm", session->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	len = fread(session->raw_comm, 1, sizeof(session->raw_comm) - 1, f);
	fclose(f);
	if (len && session->raw_comm[len - 1] == '\n')
		len--;
	session->raw_comm[len] = '\0';
	if (!len)
		return;
	memcpy(session->comm, session->raw_comm, sizeof(session->comm));
	for (c = session->comm; *c; c++) {
		if (*c <= ' ' || *c > '~')
			*c = '?';
	}
}

static int read_session(const void *data, size_t len, void *arg)
{
	struct ctl_sessions *sessions = arg;
	struct ctl_session *session;

	session = realloc(sessions->at, (sessions->n + 1) * sizeof(*session));
	if (!session)
		return -ENOMEM;
	sessions->at = session;
	session += sessions->n;
	memset(session, 0, sizeof(*session));
	session->copy = malloc(len);
	if (!session->copy)
		return -ENOMEM;
	sessions->n++;
	memcpy(session->copy, data, len);
	ctl_attrs_parse(&session->attrs, session->copy, len);
	ctl_attrs_nested(&session->stats, session->attrs.tb[SOCKBEAT_A_SESSION_STATS]);
	session->id = ctl_attrs_number(&session->attrs, SOCKBEAT_A_SESSION_ID);
	session->pid = ctl_attrs_number(&session->attrs, SOCKBEAT_A_SESSION_PID);
	read_comm(session);
	return 0;
}

/**
 * ctl_sessions_get - ask for all sessions
 * @ctl: the module
 * @sessions: set, to be given to ctl_sessions_free() also after a failure
 *
 * Return: CTL_DONE or CTL_FAILED, which was said.
 */
int ctl_sessions_get(struct ctl *ctl, struct ctl_sessions *sessions)
{
	struct nlmsghdr *nlh = channel_begin(&ctl->ch, ctl->family, SOCKBEAT_CMD_SESSION_GET,
					     NLM_F_DUMP);
	int err;

	memset(sessions, 0, sizeof(*sessions));
	err = channel_request(&ctl->ch, nlh, read_session, sessions);
	return err ? ctl_request_failed(ctl, "sessions", err) : CTL_DONE;
}

/**
 * ctl_sessions_free - let go of what ctl_sessions_get() found
 * @sessions: they
 */
void ctl_sessions_free(struct ctl_sessions *sessions)
{
	while (sessions->n)
		free(sessions->at[--sessions->n].copy);
	free(sessions->at);
	sessions->at = NULL;
}

/**
 * ctl_sessions_find - the session of that name
 * @sessions: where to look
 * @id: its name
 *
 * Return: the session, or NULL.
 */
const struct ctl_session *ctl_sessions_find(const struct ctl_sessions *sessions, uint32_t id)
{
	for (size_t i = 0; i < sessions->n; i++) {
		if (sessions->at[i].id == id)
			return &sessions->at[i];
	}
	return NULL;
}

/**
 * ctl_session_unknown - say, as the kernel does, that there is no such session
 * @id: its name, or that of one that the caller may not see
 *
 * Return: CTL_FAILED.
 */
int ctl_session_unknown(uint32_t id)
{
	return ctl_fail("session %u: no session has this id", id);
}

/**
 * ctl_session_process - whose session it is
 * @session: the session
 * @text: written: NAME/PID, or -
 *
 * Return: @text.
 */
const char *ctl_session_process(const struct ctl_session *session, char text[CTL_TEXT_CHARS])
{
	if (session->pid)
		snprintf(text, CTL_TEXT_CHARS, "%s/%u", session->comm, session->pid);
	else
		snprintf(text, CTL_TEXT_CHARS, "-");
	return text;
}

/**
 * ctl_session_guard - whether the kernel acts on silent peers
 * @session: the session
 *
 * Return: "off" where there is no guard, "on", or "guarding" while it keeps the
 * kernel from acting.
 */
const char *ctl_session_guard(const struct ctl_session *session)
{
	if (ctl_attrs_number(&session->attrs, SOCKBEAT_A_SESSION_GUARDING))
		return "guarding";
	return ctl_attrs_number(&session->attrs, SOCKBEAT_A_SESSION_GUARD_PERCENT) ? "on" : "off";
}

static json_t *process_json(const struct ctl_session *session)
{
	return strcmp(session->comm, "-") != 0 ? json_string(session->comm) : json_null();
}

/**
 * ctl_peer_json - a peer as an object
 * @session: whose it is
 * @peer: its attributes
 *
 * Return: a new reference.
 */
json_t *ctl_peer_json(const struct ctl_session *session, const struct ctl_attrs *peer)
{
	json_t *object = json_object();

	json_object_set_new(object, "session", json_integer(session->id));
	json_object_set_new(object, "pid", json_integer(session->pid));
	json_object_set_new(object, "process", process_json(session));
	ctl_fields_json(object, ctl_peer_fields, peer);
	return object;
}

/**
 * ctl_session_json - a session as an object
 * @session: the session
 *
 * Return: a new reference.
 */
json_t *ctl_session_json(const struct ctl_session *session)
{
	json_t *object = json_object(), *stats = json_object();

	json_object_set_new(object, "session", json_integer(session->id));
	json_object_set_new(object, "process", process_json(session));
	ctl_fields_json(object, ctl_session_fields, &session->attrs);
	ctl_fields_json(stats, ctl_stats_fields, &session->stats);
	json_object_set_new(object, "stats", stats);
	return object;
}
