// SPDX-License-Identifier: GPL-2.0-only
/*
 * Start and end of the module.
 *
 * A session's file holds the module, so at exit there is no session and no peer.
 * But a task may still be on its way out of a request, and sockets may wait to be
 * ended for a user whose sessions are gone: each is waited for while what it
 * looks at is still there.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <net/genetlink.h>

#include "sockbeat.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static int __init sb_init(void)
{
	int err;

	err = sb_peer_init();
	if (err)
		return err;
	err = sb_offload_init();
	if (err)
		goto peer_exit;
	err = sb_hook_init();
	if (err)
		goto offload_exit;
	err = sb_user_init();
	if (err)
		goto hook_exit;
	err = sb_session_init();
	if (err)
		goto user_exit;
	err = sb_sysfs_init();
	if (err)
		goto session_exit;
	err = sb_netlink_init();
	if (err)
		goto sysfs_exit;
	return 0;

sysfs_exit:
	sb_sysfs_exit();
session_exit:
	sb_session_exit();
user_exit:
	sb_user_exit();
hook_exit:
	sb_hook_exit();
offload_exit:
	sb_offload_exit();
peer_exit:
	sb_peer_exit();
	return err;
}

static void __exit sb_exit(void)
{
	sb_netlink_exit();
	sb_sysfs_exit();
	sb_later_exit();
	sb_session_exit();
	sb_user_exit();
	sb_hook_exit();
	sb_offload_exit();
	sb_peer_exit();
}

module_init(sb_init);
module_exit(sb_exit);

MODULE_DESCRIPTION("Tracks which TCP peers are alive and reports those that fell silent");
MODULE_AUTHOR("The sockbeat authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_GENL_FAMILY(SOCKBEAT_FAMILY_NAME);
