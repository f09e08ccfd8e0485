/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a service manager like systemd is told: that the daemon serves, that it
 * is still alive and that it ends. Without one nothing happens here.
 */
#ifndef SOCKBEAT_NOTIFY_H
#define SOCKBEAT_NOTIFY_H

void notify_open(void);
void notify(const char *state);
int notify_timer(void);

#endif /* SOCKBEAT_NOTIFY_H */
