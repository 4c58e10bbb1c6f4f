/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Make an event in the ring from a program's reading: filters, identities, histogram, losses. The same for every
 * backend: a program only fills a struct rtt_reading; the rest is read from the socket here.
 */
#ifndef RTT_RECORD_H
#define RTT_RECORD_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "rtt_event.h"
#include "rtt_maps.h"
#include "rtt_probe.h"

#define AF_INET 2
#define FLAG_SYN_ACKED 0x10

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Not loaded into the kernel: identifies the sources that the object was built from, and keeps the layout of an event
 * in the object's BTF.
 */
struct rtt_sources {
	char sha256[64];
	struct rtt_event event;
};

const struct rtt_sources sources SEC("rttcheck_sources") __attribute__((used)) = { .sha256 = RTT_SOURCES_SHA256 };

/*
 * Read a member of a kernel structure. Where the verifier knows the pointer's type (`direct`, a constant) that is one
 * load, which reads 0 from an invalid address; elsewhere it is a call of a helper, which takes some twenty times as long.
 */
#define READ(from, member) (direct ? (from)->member : BPF_CORE_READ(from, member))
#define READ_BITFIELD(from, member) \
	(direct ? BPF_CORE_READ_BITFIELD(from, member) : BPF_CORE_READ_BITFIELD_PROBED(from, member))

/* One reading by a program. Times are microseconds, -1 for those that are absent or cannot be read. */
struct rtt_reading {
	const struct sock *sk;
	__s64 first_rtt_us;
	__s64 sack_rtt_us;
	__s64 last_rtt_us;
	__s64 rs_rtt_us;
	__s64 sample_us;
	__s64 counted_us; /* what the histogram counts */
	__u32 srtt_us;
	__u32 rto_jiffies;
	__s32 flag;
	__u32 watch;
	__u8 backoff;
	__u8 taken;
	__u8 hook;
};

static __always_inline __u32 bucket_of(__u64 value)
{
	__u32 bucket = 0;

	if (value >= 65536)
		return RTT_BUCKETS - 1;
	if (value >> 8) {
		bucket += 8;
		value >>= 8;
	}
	if (value >> 4) {
		bucket += 4;
		value >>= 4;
	}
	if (value >> 2) {
		bucket += 2;
		value >>= 2;
	}
	if (value >> 1)
		bucket += 1;
	return bucket;
}

static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline const struct rtt_config *current_config(void)
{
	const __u32 only = 0;
	const struct rtt_config *cfg = bpf_map_lookup_elem(&config, &only);

	return cfg && cfg->modes ? cfg : NULL;
}

static __always_inline struct rtt_counts *current_counts(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&counts, &only);
}

static __always_inline __u32 netns_of(const struct sock *sk, bool direct)
{
	return direct ? sk->__sk_common.skc_net.net->ns.inum : BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline bool in_netns(const struct rtt_config *cfg, const struct sock *sk, bool direct)
{
	__u32 inode;

	if (!cfg->filter_netns)
		return true;
	inode = netns_of(sk, direct);
	return bpf_map_lookup_elem(&namespaces, &inode);
}

static __always_inline bool at_port(const struct rtt_config *cfg, const struct sock *sk, bool direct)
{
	return !cfg->port || cfg->port == READ(sk, __sk_common.skc_num) ||
	       cfg->port == bpf_ntohs(READ(sk, __sk_common.skc_dport));
}

static __always_inline bool is_watched(const struct rtt_config *cfg, const struct sock *sk, bool direct)
{
	return at_port(cfg, sk, direct) && in_netns(cfg, sk, direct);
}

static __always_inline void identify(struct rtt_identity *id, const struct sock *sk, __u16 family, bool direct)
{
	__builtin_memset(id, 0, sizeof(*id));
	id->sport = READ(sk, __sk_common.skc_num);
	id->dport = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	id->netns = netns_of(sk, direct);
	if (family == AF_INET) {
		__be32 saddr = READ(sk, __sk_common.skc_rcv_saddr);
		__be32 daddr = READ(sk, __sk_common.skc_daddr);

		id->saddr[10] = id->saddr[11] = id->daddr[10] = id->daddr[11] = 0xff;
		__builtin_memcpy(&id->saddr[12], &saddr, sizeof(saddr));
		__builtin_memcpy(&id->daddr[12], &daddr, sizeof(daddr));
	} else if (direct) {
		__be32 *saddr = (void *)id->saddr, *daddr = (void *)id->daddr;

		for (int word = 0; word < 4; word++) {
			saddr[word] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[word];
			daddr[word] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[word];
		}
	} else {
		BPF_CORE_READ_INTO(&id->saddr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
		BPF_CORE_READ_INTO(&id->daddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32);
	}
}

static __always_inline bool same(const struct rtt_identity *one, const struct rtt_identity *other)
{
	const __u64 *a = (const void *)one, *b = (const void *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/*
 * The generation of the reading's connection, 0 when the map could not store it. `kept` is what the program itself
 * remembers of the socket (zeroes at first), NULL for one that remembers nothing and has the map instead.
 */
static __always_inline __u64 generation_of(const struct rtt_reading *saw, const struct rtt_identity *id, __u64 now_ns,
					   struct rtt_connection *kept)
{
	bool handshake = saw->flag & FLAG_SYN_ACKED;
	__u64 address = (__u64)saw->sk;
	struct rtt_connection *known, fresh;

	/* Another number than the pointer: the verifier forgets the type of what is passed as a key. */
	barrier_var(address);
	known = kept ? kept : bpf_map_lookup_elem(&connections, &address);

	/*
	 * A passive open whose SYN-ACK was retransmitted calls twice with the flag: tcp_check_req() gets no sample,
	 * then tcp_rcv_state_process() tries again. That is one connection.
	 */
	if (known && same(&known->identity, id) && (!handshake || known->in_handshake)) {
		known->in_handshake = handshake && !saw->taken;
		return known->generation;
	}
	__builtin_memcpy(&fresh.identity, id, sizeof(fresh.identity));
	fresh.generation = now_ns;
	fresh.in_handshake = handshake && !saw->taken;
	if (kept) {
		*kept = fresh;
		return now_ns;
	}
	return bpf_map_update_elem(&connections, &address, &fresh, BPF_ANY) ? 0 : now_ns;
}

static __always_inline unsigned long timer_expires(const struct sock *sk, bool direct)
{
	const struct inet_connection_sock *icsk = (const void *)sk;

	if (bpf_core_field_exists(icsk->icsk_timeout))
		return READ(icsk, icsk_timeout);
	if (bpf_core_field_exists(sk->tcp_retransmit_timer))
		return READ(sk, tcp_retransmit_timer.expires);
	return READ(icsk, icsk_retransmit_timer.expires);
}

static __always_inline __u32 received_on(const struct sock *sk, bool direct)
{
	const struct inet_sock *inet = (const void *)sk;

	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex))
		return READ(sk, sk_rx_dst_ifindex);
	if (bpf_core_field_exists(inet->rx_dst_ifindex))
		return READ(inet, rx_dst_ifindex);
	return 0;
}

static __always_inline void minimum(struct rtt_event *event, const struct tcp_sock *tp, bool direct)
{
	if (!direct) {
		BPF_CORE_READ_INTO(&event->min_rtt, tp, rtt_min.s);
		return;
	}
	for (int kept = 0; kept < 3; kept++) {
		event->min_rtt[kept].t = tp->rtt_min.s[kept].t;
		event->min_rtt[kept].v = tp->rtt_min.s[kept].v;
	}
}

static __always_inline void current_thread(struct rtt_event *event, __u8 hook)
{
	const struct task_struct *task;

	if (hook != RTT_HOOK_SOCKOPS) {
		event->pid = bpf_get_current_pid_tgid();
		bpf_get_current_comm(event->comm, sizeof(event->comm));
		return;
	}
	/* Cgroup programs may not call bpf_get_current_comm() (before 6.17 or so), all may read the thread. */
	task = (const void *)bpf_get_current_task();
	event->pid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_INTO(&event->comm, task, comm);
}

static __always_inline void fill(struct rtt_event *event, const struct rtt_config *cfg, const struct rtt_reading *saw,
				 const struct rtt_identity *id, __u16 family, bool direct)
{
	const struct sock *sk = saw->sk;
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct tcp_sock *tp = (const void *)sk;
	__u64 jiffies = bpf_jiffies64();

	event->tcp_mstamp_us = READ(tp, tcp_mstamp);
	event->sk = (__u64)sk;
	event->cookie = READ(sk, __sk_common.skc_cookie.counter);
	event->first_rtt_us = saw->first_rtt_us;
	event->sack_rtt_us = saw->sack_rtt_us;
	event->last_rtt_us = saw->last_rtt_us;
	event->rs_rtt_us = saw->rs_rtt_us;
	event->sample_us = saw->sample_us;
	minimum(event, tp, direct);
	event->srtt_us = saw->srtt_us;
	event->mdev_us = READ(tp, mdev_us);
	event->mdev_max_us = READ(tp, mdev_max_us);
	event->rttvar_us = READ(tp, rttvar_us);
	event->rtt_seq = READ(tp, rtt_seq);
	event->snd_una = READ(tp, snd_una);
	event->snd_nxt = READ(tp, snd_nxt);
	event->write_seq = READ(tp, write_seq);
	event->packets_out = READ(tp, packets_out);
	event->retrans_out = READ(tp, retrans_out);
	event->sacked_out = READ(tp, sacked_out);
	event->lost_out = READ(tp, lost_out);
	event->delivered = READ(tp, delivered);
	event->mss_cache = READ(tp, mss_cache);
	event->rcv_tsecr = READ(tp, rx_opt.rcv_tsecr);
	event->flag = saw->flag;
	event->jiffies = jiffies;
	event->rto_jiffies = saw->rto_jiffies;
	event->wmem_queued = READ(sk, sk_wmem_queued);
	event->rmem_alloc = READ(sk, sk_backlog.rmem_alloc.counter);
	event->write_queue = READ(sk, sk_write_queue.qlen);
	event->read_queue = READ(sk, sk_receive_queue.qlen);
	event->netns = id->netns;
	event->cpu = bpf_get_smp_processor_id();
	event->ifindex = received_on(sk, direct);
	event->watch = saw->watch;
	event->hz = cfg->hz;
	event->family = family;
	event->sport = id->sport;
	event->dport = id->dport;
	__builtin_memcpy(event->saddr, id->saddr, sizeof(event->saddr));
	__builtin_memcpy(event->daddr, id->daddr, sizeof(event->daddr));
	current_thread(event, saw->hook);
	event->state = READ(sk, __sk_common.skc_state);
	event->ca_state = READ_BITFIELD(icsk, icsk_ca_state);
	event->taken = saw->taken;
	event->hook = saw->hook;
	event->timer = READ(icsk, icsk_pending);
	event->timer_jiffies = event->timer ? timer_expires(sk, direct) - jiffies : 0;
	event->saw_tstamp = READ_BITFIELD(tp, rx_opt.saw_tstamp);
	event->backoff = saw->backoff;
	event->owned = READ(sk, sk_lock.owned) ? RTT_OWNED_YES : RTT_OWNED_NO;
}

/* Count a reading that passed the filters, and make an event of it; `kept` as in generation_of(). */
static __always_inline void record(const struct rtt_config *cfg, const struct rtt_reading *saw,
				   struct rtt_connection *kept, bool direct)
{
	const struct sock *sk = saw->sk;
	struct rtt_counts *c = current_counts();
	struct rtt_identity id;
	struct rtt_event *event;
	__u64 now_ns, generation;
	__u16 family;

	if (!c)
		return;
	count(&c->calls);
	if (cfg->modes & RTT_MODE_HISTOGRAM && saw->counted_us >= 0) {
		__u32 us = bucket_of(saw->counted_us), ms = bucket_of((__u64)saw->counted_us / 1000);

		if (us < RTT_BUCKETS && ms < RTT_BUCKETS) { /* the verifier cannot derive it through the shifts */
			count(&c->us[us]);
			count(&c->ms[ms]);
		}
	}
	if (!(cfg->modes & RTT_MODE_EVENTS))
		return;
	now_ns = bpf_ktime_get_ns();
	family = READ(sk, __sk_common.skc_family);
	identify(&id, sk, family, direct);
	generation = generation_of(saw, &id, now_ns, kept);
	if (!generation) {
		count(&c->lost_no_identity);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count(&c->lost_ring_full);
		return;
	}
	event->timestamp_ns = now_ns;
	event->generation = generation;
	fill(event, cfg, saw, &id, family, direct);
	bpf_ringbuf_submit(event, cfg->modes & RTT_MODE_WAKE ? 0 : BPF_RB_NO_WAKEUP);
}

#endif /* RTT_RECORD_H */
