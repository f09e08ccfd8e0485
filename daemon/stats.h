/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics: totals over all reactors as one JSON object for each connect to
 * a unix socket.
 */
#ifndef SOCKBEAT_STATS_H
#define SOCKBEAT_STATS_H

#include "reactor.h"

int stats_open(const char *path);
bool stats_serve(int listen_fd, struct reactor *const *reactors, unsigned int n);
void stats_close(int listen_fd, const char *path);

#endif /* SOCKBEAT_STATS_H */
