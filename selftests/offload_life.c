// SPDX-License-Identifier: GPL-2.0-only
/*
 * The beginning and the end of an offload, and others who want the same socket.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <linux/kcm.h>
#include <linux/tls.h>
#include <sys/syscall.h>

#include "offload.h"

/* Unread bytes stay, and what comes is the application's from then on. */
static void expect_left_alone(SELF)
{
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, "\0\10\0" HEARTBEAT, 3));
	ASSERT_TRUE(receives(self->pair.server, "\0\0\0\0\0", 5));
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_FALSE(is_readable(self->pair.client));
}

/* Something unread that is not yet a heartbeat. */
static void begin_frame(SELF)
{
	expect_answered(_metadata, self);
	client_sends(_metadata, self, HEARTBEAT, 3);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_PARTIAL, 1));
}

static void end_frame(SELF)
{
	client_sends(_metadata, self, HEARTBEAT + 3, HEARTBEAT_BYTES - 3);
}

TEST_F(offload, ends_with_peer_del)
{
	begin_frame(_metadata, self);
	ASSERT_EQ(0, client_del(&self->c, self->session, self->handle));
	end_frame(_metadata, self);
	expect_left_alone(_metadata, self);
}

TEST_F(offload, ends_with_peer_recycle)
{
	begin_frame(_metadata, self);
	ASSERT_EQ(0, client_recycle(&self->c, self->session, self->handle, 60000));
	end_frame(_metadata, self);
	expect_left_alone(_metadata, self);
}

TEST_F(offload, ends_with_the_session)
{
	begin_frame(_metadata, self);
	ASSERT_EQ(0, munmap(self->slots, 4 * sizeof(*self->slots)));
	close(self->session);
	self->session = -1;
	end_frame(_metadata, self);
	expect_left_alone(_metadata, self);
}

TEST_F(offload, ends_with_no_profile)
{
	struct attrs peer;

	begin_frame(_metadata, self);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_EQ(native.id, peer.v[SOCKBEAT_A_PEER_PROFILE]);
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, 0));
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_FALSE(peer.has[SOCKBEAT_A_PEER_PROFILE]);
	end_frame(_metadata, self);
	expect_left_alone(_metadata, self);
	/* Positions go on counting meanwhile. */
	self->rx += 2 * HEARTBEAT_BYTES;
	stand(_metadata, self);
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, native.id));
	expect_answered(_metadata, self);
}

TEST_F(offload, ends_with_the_profile)
{
	begin_frame(_metadata, self);
	ASSERT_EQ(0, client_profile_del(&self->c, self->session, native.id));
	end_frame(_metadata, self);
	expect_left_alone(_metadata, self);
	ASSERT_LE(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PASS_STATE));
	self->rx += 2 * HEARTBEAT_BYTES;
	stand(_metadata, self);
	ASSERT_EQ(0, client_profile(&self->c, self->session, &native));
	expect_answered(_metadata, self);
	ASSERT_EQ(0, client_profile_del(&self->c, self->session, native.id));
	ASSERT_EQ(-ENOENT, client_profile_del(&self->c, self->session, native.id));
	EXPECT_STREQ("session has no such profile", self->c.why);
}

/* Positions count from the peer's beginning, not from the profile's. */
TEST_F(offload, begins_late)
{
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(4, send(pair.client, "more", 4, 0));
	ASSERT_TRUE(receives(pair.server, "more", 4));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	ASSERT_EQ(4, send(pair.client, "data", 4, 0));
	ASSERT_TRUE(receives(pair.server, "data", 4));
	ASSERT_EQ(4, send(pair.server, "back", 4, 0));
	ASSERT_TRUE(receives(pair.client, "back", 4));
	stand_at(&self->slots[(uint32_t)handle], handle, 4, 4);
	ASSERT_EQ(0, give_profile(&self->c, self->session, handle, native.id));
	ASSERT_EQ(HEARTBEAT_BYTES, send(pair.client, HEARTBEAT, HEARTBEAT_BYTES, 0));
	ASSERT_TRUE(receives(pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_FALSE(is_readable(pair.server));
	tcp_pair_close(&pair);
}

/* The next user of a slot does not inherit where the last one stood. */
TEST_F(offload, slot_used_again)
{
	struct pair pair;
	uint64_t handle;

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, client_del(&self->c, self->session, self->handle));
		ASSERT_EQ(0, tcp_pair(&pair));
		add_with(_metadata, self, pair.server, native.id, &handle);
		ASSERT_EQ(HEARTBEAT_BYTES, send(pair.client, HEARTBEAT, HEARTBEAT_BYTES, 0));
		ASSERT_TRUE(receives(pair.server, HEARTBEAT, HEARTBEAT_BYTES));
		ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
		tcp_pair_close(&self->pair);
		self->pair = pair;
		self->handle = handle;
	}
}

TEST_F(offload, a_child_inherits_nothing)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	socklen_t len = sizeof(sa);
	char bytes[HEARTBEAT_BYTES];
	int client, child;

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* The tracked socket becomes a listening one. */
	ASSERT_EQ(0, connect(self->pair.server, &unspec, sizeof(unspec)));
	ASSERT_EQ(0, bind(self->pair.server, (void *)&sa, sizeof(sa)));
	ASSERT_EQ(0, listen(self->pair.server, 1));
	ASSERT_EQ(0, getsockname(self->pair.server, (void *)&sa, &len));
	client = tcp_connect(AF_INET, "127.0.0.1", ntohs(sa.sin_port));
	ASSERT_LE(0, client);
	child = accept(self->pair.server, NULL, NULL);
	ASSERT_LE(0, child);
	ASSERT_EQ(HEARTBEAT_BYTES, send(client, HEARTBEAT, HEARTBEAT_BYTES, 0));
	ASSERT_TRUE(receives(child, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_EQ(-1, recv(client, bytes, sizeof(bytes), MSG_DONTWAIT));
	close(client);
	close(child);
}

/* Others on the socket. */

static int sockmap_add(int fd)
{
	union bpf_attr create = {
		.map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 1,
	};
	uint32_t key = 0, value = fd;
	union bpf_attr update = { .key = (uintptr_t)&key, .value = (uintptr_t)&value };
	int map, ret;

	map = syscall(SYS_bpf, BPF_MAP_CREATE, &create, sizeof(create));
	if (map < 0)
		return -ENOSYS;
	update.map_fd = map;
	ret = syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &update, sizeof(update)) ? -errno : map;
	if (ret < 0)
		close(map);
	return ret;
}

static int ktls(int fd)
{
	return setsockopt(fd, SOL_TCP, TCP_ULP, "tls", 3) ? -errno : 0;
}

static int ktls_keys(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 key = {
		.info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 },
	};

	return setsockopt(fd, SOL_TLS, direction, &key, sizeof(key)) ? -errno : 0;
}

TEST_F(offload, sockmap_was_there_first)
{
	struct pair pair;
	uint64_t handle;
	int map;

	ASSERT_EQ(0, tcp_pair(&pair));
	map = sockmap_add(pair.server);
	if (map == -ENOSYS)
		SKIP(return, "no sockmap in this kernel");
	ASSERT_LE(0, map);
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	ASSERT_EQ(-EBUSY, give_profile(&self->c, self->session, handle, native.id));
	EXPECT_STREQ("socket's callbacks are in use, by sockmap or KCM for example: no offload",
		     self->c.why);
	close(map);
	tcp_pair_close(&pair);
}

TEST_F(offload, sockmap_comes_later)
{
	int map = sockmap_add(self->pair.server);

	if (map == -ENOSYS)
		SKIP(return, "no sockmap in this kernel");
	ASSERT_EQ(-EBUSY, map);
	expect_answered(_metadata, self);
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, 0));
	map = sockmap_add(self->pair.server);
	ASSERT_LE(0, map);
	close(map);
}

TEST_F(offload, kcm_comes_later)
{
	struct bpf_insn insn[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
		.insns = (uintptr_t)insn, .license = (uintptr_t)"GPL",
	};
	struct kcm_attach attach = { .fd = self->pair.server };
	int kcm = socket(AF_KCM, SOCK_DGRAM, KCMPROTO_CONNECTED);

	if (kcm < 0)
		SKIP(return, "no KCM in this kernel");
	attach.bpf_fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	ASSERT_LE(0, attach.bpf_fd);
	ASSERT_EQ(-1, ioctl(kcm, SIOCKCMATTACH, &attach));
	ASSERT_EQ(EALREADY, errno);
	expect_answered(_metadata, self);
	close(attach.bpf_fd);
	close(kcm);
}

TEST_F(offload, ktls_was_there_first)
{
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, tcp_pair(&pair));
	if (ktls(pair.server))
		SKIP(return, "no kTLS in this kernel");
	/* That does not pass, so it is tried once: one slot was taken for it. */
	ASSERT_EQ(-EBUSY, client_add1(&self->c, self->session, pair.server,
				      &(struct peer_conf){ KEEP, KEEP, KEEP, 0, GIVE(native.id) },
				      &handle));
	EXPECT_STREQ("socket has an upper layer protocol, such as kTLS: no offload", self->c.why);
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	ASSERT_EQ(2, (uint32_t)handle);
	ASSERT_EQ(-EBUSY, give_profile(&self->c, self->session, handle, native.id));
	EXPECT_STREQ("socket has an upper layer protocol, such as kTLS: no offload", self->c.why);
	tcp_pair_close(&pair);
}

static long module_users(void)
{
	FILE *f = fopen("/sys/module/sockbeat/refcnt", "r");
	long users = -1;

	if (f) {
		if (fscanf(f, "%ld", &users) != 1)
			users = -1;
		fclose(f);
	}
	return users;
}

/* A heartbeat inside of a record looks like none, and a record's bytes may by
 * accident look like one.  The offload keeps away, also when it is taken away
 * under kTLS, and the module can be unloaded when the socket is closed.
 */
TEST_F(offload, ktls_comes_later)
{
	long users = module_users();

	expect_answered(_metadata, self);
	if (ktls(self->pair.server) || ktls(self->pair.client))
		SKIP(return, "no kTLS in this kernel");
	ASSERT_EQ(0, ktls_keys(self->pair.server, TLS_RX));
	ASSERT_EQ(0, ktls_keys(self->pair.server, TLS_TX));
	ASSERT_EQ(0, ktls_keys(self->pair.client, TLS_RX));
	ASSERT_EQ(0, ktls_keys(self->pair.client, TLS_TX));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_LE(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PASS_FOREIGN));
	ASSERT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_EQ(5, send(self->pair.server, "reply", 5, 0));
	ASSERT_TRUE(receives(self->pair.client, "reply", 5));

	ASSERT_EQ(0, client_del(&self->c, self->session, self->handle));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_EQ(users + 1, module_users());
	tcp_pair_close(&self->pair);
	for (uint64_t end = now_ms() + PATIENCE_MS; module_users() != users && now_ms() < end;)
		usleep(10000);
	ASSERT_EQ(users, module_users());
	self->pair.server = self->pair.client = -1;
}

/* What is refused, and that nothing is changed by it. */

static void refused(SELF, int err, const char *why, struct profile p)
{
	ASSERT_EQ(err, client_profile(&self->c, self->session, &p)) {
		TH_LOG("for: %s", why);
	}
	ASSERT_STREQ(why, self->c.why);
	ASSERT_NE(0, self->c.bad_off);
}

TEST_F(offload, wrong_profiles)
{
	static const char long_frame[65];
	struct pattern p[5] = { native_pattern, native_pattern, native_pattern, native_pattern,
				native_pattern };
	struct profile profile = { .id = 1, .pattern = p };

	refused(_metadata, self, -EINVAL, "a profile has to have 1 to 4 patterns", profile);
	profile.n = 5;
	refused(_metadata, self, -E2BIG, "a profile has to have 1 to 4 patterns", profile);
	profile.n = 1;
	p[0] = (struct pattern){ .reply = "x", .reply_len = 1 };
	refused(_metadata, self, -EINVAL, "a pattern's value has to be 1 to 64 bytes long", profile);
	p[0] = (struct pattern){ .value = long_frame, .len = 65 };
	refused(_metadata, self, -EINVAL, "more than 64 bytes", profile);
	p[0] = (struct pattern){ "value", 5, NULL, "reply", 5, .from = 3, .bytes = 3 };
	refused(_metadata, self, -EINVAL,
		"copy-from and copy-bytes reach beyond the pattern's value", profile);
	p[0] = (struct pattern){ "value", 5, NULL, "reply", 5, .to = 3, .bytes = 3 };
	refused(_metadata, self, -EINVAL,
		"copy-to and copy-bytes reach beyond the pattern's reply", profile);
	p[0] = (struct pattern){ "value", 5, NULL, "reply", 5, .answers_probe = true };
	refused(_metadata, self, -EINVAL, "an answer to a probe takes no reply", profile);
	p[0] = (struct pattern){ "value", 5, .answers_probe = true };
	refused(_metadata, self, -EINVAL,
		"a pattern answers a probe, but the profile has none", profile);
	profile.probe = long_frame;
	profile.probe_len = 65;
	refused(_metadata, self, -EINVAL, "more than 64 bytes", profile);
	profile = native;
	profile.id = 0;
	ASSERT_EQ(-ERANGE, client_profile(&self->c, self->session, &profile));
	profile.id = SOCKBEAT_MAX_PROFILES + 1;
	ASSERT_EQ(-ERANGE, client_profile(&self->c, self->session, &profile));
	/* The one that was there is still in use. */
	expect_answered(_metadata, self);
}

TEST_F(offload, wrong_settings)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(7), 0 };
	struct pair pair, third;
	struct attrs peer;
	uint64_t two[2];

	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, tcp_pair(&third));
	ASSERT_EQ(-ENOENT, client_add1(&self->c, self->session, pair.server, &conf, two));
	EXPECT_STREQ("session has no such profile", self->c.why);
	ASSERT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_ADDED));
	ASSERT_EQ(-ENOENT, give_profile(&self->c, self->session, self->handle, 7));
	ASSERT_EQ(-EINVAL, give_probe(&self->c, self->session, self->handle, 1000));
	EXPECT_STREQ("probe-after-ms needs a profile that has a probe", self->c.why);
	conf = (struct peer_conf){ KEEP, KEEP, KEEP, 0, 0, GIVE(1000) };
	ASSERT_EQ(-EINVAL, client_add1(&self->c, self->session, pair.server, &conf, two));
	expect_answered(_metadata, self);

	/* All of a batch or none: the second socket is not free. */
	ASSERT_EQ(0, client_add1(&self->c, self->session, third.server, NULL, &two[1]));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &two[0]));
	if (ktls(third.server))
		SKIP(return, "no kTLS in this kernel");
	conf = (struct peer_conf){ KEEP, KEEP, KEEP, 0, GIVE(native.id), 0 };
	ASSERT_EQ(-EBUSY, client_handles(&self->c, self->session, SOCKBEAT_CMD_PEER_SET, two, 2,
					 &conf));
	ASSERT_EQ(0, client_get(&self->c, self->session, two[0], &peer));
	EXPECT_FALSE(peer.has[SOCKBEAT_A_PEER_PROFILE]);
	stand_at(&self->slots[(uint32_t)two[0]], two[0], 0, 0);
	ASSERT_EQ(HEARTBEAT_BYTES, send(pair.client, HEARTBEAT, HEARTBEAT_BYTES, 0));
	ASSERT_TRUE(receives(pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	tcp_pair_close(&pair);
	tcp_pair_close(&third);
}

/* That its callbacks are ours is not what is wrong with it. */
TEST_F(offload, tracked_once)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(1), 0 };
	uint64_t again;

	EXPECT_EQ(-EEXIST, client_add1(&self->c, self->session, self->pair.server, &conf, &again));
	EXPECT_STREQ("socket is tracked already", self->c.why);
}

TEST_HARNESS_MAIN
