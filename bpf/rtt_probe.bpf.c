/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sees every call of tcp_ack_update_rtt() through fexit, or through kprobe and kretprobe.
 *
 *   static bool tcp_ack_update_rtt(struct sock *sk, const int flag, long seq_rtt_us, long sack_rtt_us,
 *                                  long ca_rtt_us, struct rate_sample *rs)
 *
 * Signature and meaning are the same from Linux 5.10 to 7.3. User space proves the arguments through BTF and attaches
 * one of the two; each comes here with the same struct rtt_call, so that both make the same event.
 *
 * 5.10 has no atomic operation that returns a value, no bpf_loop() and no socket storage for kprobes: none is used.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kernel_types.h"
#include "rtt_event.h"
#include "rtt_maps.h"
#include "rtt_probe.h"

#define AF_INET 2
#define FLAG_SYN_ACKED 0x10

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Not loaded into the kernel: says which sources the object was built from, and keeps the layout of an event in the
 * object's BTF.
 */
struct rtt_sources {
	char sha256[64];
	struct rtt_event event;
};

const struct rtt_sources sources SEC("rttcheck_sources") __attribute__((used)) = { .sha256 = RTT_SOURCES_SHA256 };

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

static __always_inline bool passes(const struct rtt_config *cfg, const struct sock *sk, __s64 first_rtt_us,
				   __s64 last_rtt_us)
{
	if (cfg->filter_netns) {
		__u32 inode = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);

		if (!bpf_map_lookup_elem(&namespaces, &inode))
			return false;
	}
	if (cfg->port && cfg->port != BPF_CORE_READ(sk, __sk_common.skc_num) &&
	    cfg->port != bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)))
		return false;
	/* A call without a first-acked sample passes while no filter is set: it may still have taken a sample. */
	if (cfg->first_below_us && first_rtt_us < cfg->first_below_us)
		return false;
	if (cfg->last_below_us && (first_rtt_us < 0 || last_rtt_us < cfg->last_below_us))
		return false;
	return true;
}

static __always_inline void identify(struct rtt_identity *id, const struct sock *sk, __u16 family)
{
	__builtin_memset(id, 0, sizeof(*id));
	id->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	id->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	id->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (family == AF_INET) {
		__be32 saddr = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		__be32 daddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		id->saddr[10] = id->saddr[11] = id->daddr[10] = id->daddr[11] = 0xff;
		__builtin_memcpy(&id->saddr[12], &saddr, sizeof(saddr));
		__builtin_memcpy(&id->daddr[12], &daddr, sizeof(daddr));
	} else {
		BPF_CORE_READ_INTO(&id->saddr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&id->daddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	}
}

static __always_inline bool same(const struct rtt_identity *one, const struct rtt_identity *other)
{
	const __u64 *a = (const void *)one, *b = (const void *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/* The generation of the connection that makes this call, 0 when the kernel would not remember it. */
static __always_inline __u64 generation_of(const struct rtt_call *call, const struct rtt_identity *id, bool taken,
					   __u64 now_ns)
{
	bool handshake = call->flag & FLAG_SYN_ACKED;
	struct rtt_connection *known = bpf_map_lookup_elem(&connections, &call->sk);
	struct rtt_connection fresh;

	/*
	 * A passive open whose SYN-ACK was retransmitted calls twice with the flag: tcp_check_req() gets no sample,
	 * then tcp_rcv_state_process() tries again. That is one connection.
	 */
	if (known && same(&known->identity, id) && (!handshake || known->in_handshake)) {
		known->in_handshake = handshake && !taken;
		return known->generation;
	}
	__builtin_memcpy(&fresh.identity, id, sizeof(fresh.identity));
	fresh.generation = now_ns;
	fresh.in_handshake = handshake && !taken;
	return bpf_map_update_elem(&connections, &call->sk, &fresh, BPF_ANY) ? 0 : now_ns;
}

static __always_inline unsigned long timer_expires(const struct sock *sk)
{
	const struct inet_connection_sock *icsk = (const void *)sk;

	if (bpf_core_field_exists(icsk->icsk_timeout))
		return BPF_CORE_READ(icsk, icsk_timeout);
	if (bpf_core_field_exists(sk->tcp_retransmit_timer))
		return BPF_CORE_READ(sk, tcp_retransmit_timer.expires);
	return BPF_CORE_READ(icsk, icsk_retransmit_timer.expires);
}

static __always_inline __u32 received_on(const struct sock *sk)
{
	const struct inet_sock *inet = (const void *)sk;

	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex))
		return BPF_CORE_READ(sk, sk_rx_dst_ifindex);
	if (bpf_core_field_exists(inet->rx_dst_ifindex))
		return BPF_CORE_READ(inet, rx_dst_ifindex);
	return 0;
}

static __always_inline void fill(struct rtt_event *event, const struct rtt_config *cfg, const struct rtt_call *call,
				 const struct rtt_identity *id, __u16 family, bool taken, __u8 hook)
{
	const struct sock *sk = (const void *)call->sk;
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct tcp_sock *tp = (const void *)sk;
	const struct rate_sample *rs = (const void *)call->rs;
	__u64 jiffies = bpf_jiffies64();

	event->tcp_mstamp_us = BPF_CORE_READ(tp, tcp_mstamp);
	event->sk = call->sk;
	event->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	event->first_rtt_us = call->first_rtt_us;
	event->sack_rtt_us = call->sack_rtt_us;
	event->last_rtt_us = call->last_rtt_us;
	event->rs_rtt_us = BPF_CORE_READ(rs, rtt_us);
	/* The order of tcp_ack_update_rtt() itself: first-acked, else SACK, else the timestamp fallback. */
	if (!taken)
		event->sample_us = -1;
	else if (call->first_rtt_us >= 0)
		event->sample_us = call->first_rtt_us;
	else if (call->sack_rtt_us >= 0)
		event->sample_us = call->sack_rtt_us;
	else
		event->sample_us = event->rs_rtt_us;
	BPF_CORE_READ_INTO(&event->min_rtt, tp, rtt_min.s);
	event->srtt_us = BPF_CORE_READ(tp, srtt_us);
	event->mdev_us = BPF_CORE_READ(tp, mdev_us);
	event->mdev_max_us = BPF_CORE_READ(tp, mdev_max_us);
	event->rttvar_us = BPF_CORE_READ(tp, rttvar_us);
	event->rtt_seq = BPF_CORE_READ(tp, rtt_seq);
	event->snd_una = BPF_CORE_READ(tp, snd_una);
	event->snd_nxt = BPF_CORE_READ(tp, snd_nxt);
	event->write_seq = BPF_CORE_READ(tp, write_seq);
	event->packets_out = BPF_CORE_READ(tp, packets_out);
	event->retrans_out = BPF_CORE_READ(tp, retrans_out);
	event->sacked_out = BPF_CORE_READ(tp, sacked_out);
	event->lost_out = BPF_CORE_READ(tp, lost_out);
	event->delivered = BPF_CORE_READ(tp, delivered);
	event->mss_cache = BPF_CORE_READ(tp, mss_cache);
	event->rcv_tsecr = BPF_CORE_READ(tp, rx_opt.rcv_tsecr);
	event->flag = call->flag;
	event->jiffies = jiffies;
	event->rto_jiffies = BPF_CORE_READ(icsk, icsk_rto);
	event->wmem_queued = BPF_CORE_READ(sk, sk_wmem_queued);
	event->rmem_alloc = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	event->write_queue = BPF_CORE_READ(sk, sk_write_queue.qlen);
	event->read_queue = BPF_CORE_READ(sk, sk_receive_queue.qlen);
	event->netns = id->netns;
	event->cpu = bpf_get_smp_processor_id();
	event->ifindex = received_on(sk);
	event->pid = bpf_get_current_pid_tgid();
	event->watch = call->watch;
	event->hz = cfg->hz;
	event->family = family;
	event->sport = id->sport;
	event->dport = id->dport;
	__builtin_memcpy(event->saddr, id->saddr, sizeof(event->saddr));
	__builtin_memcpy(event->daddr, id->daddr, sizeof(event->daddr));
	bpf_get_current_comm(&event->comm, sizeof(event->comm));
	event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	event->ca_state = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	event->taken = taken;
	event->hook = hook;
	event->timer = BPF_CORE_READ(icsk, icsk_pending);
	event->timer_jiffies = event->timer ? timer_expires(sk) - jiffies : 0;
	event->saw_tstamp = BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.saw_tstamp);
	event->backoff = BPF_CORE_READ(icsk, icsk_backoff);
	event->owned = BPF_CORE_READ(sk, sk_lock.owned) ? RTT_OWNED_YES : RTT_OWNED_NO;
}

/* A call that passed the filters has returned. */
static __always_inline void returned(const struct rtt_config *cfg, const struct rtt_call *call, bool taken, __u8 hook)
{
	const struct sock *sk = (const void *)call->sk;
	struct rtt_counts *c = current_counts();
	struct rtt_identity id;
	struct rtt_event *event;
	__u64 now_ns, generation;
	__u16 family;

	if (!c)
		return;
	count(&c->calls);
	if (cfg->modes & RTT_MODE_HISTOGRAM && call->first_rtt_us >= 0) {
		__u32 us = bucket_of(call->first_rtt_us), ms = bucket_of((__u64)call->first_rtt_us / 1000);

		if (us < RTT_BUCKETS && ms < RTT_BUCKETS) { /* the verifier does not see it through the shifts */
			count(&c->us[us]);
			count(&c->ms[ms]);
		}
	}
	if (!(cfg->modes & RTT_MODE_EVENTS))
		return;
	now_ns = bpf_ktime_get_ns();
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	identify(&id, sk, family);
	generation = generation_of(call, &id, taken, now_ns);
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
	fill(event, cfg, call, &id, family, taken, hook);
	bpf_ringbuf_submit(event, cfg->modes & RTT_MODE_WAKE ? 0 : BPF_RB_NO_WAKEUP);
}

/* The whole of a call that has returned: its six arguments, then its result. */
static __always_inline void whole_call(const __u64 *args)
{
	const struct rtt_config *cfg = current_config();
	struct rtt_call call = {};

	if (!cfg)
		return;
	call.sk = args[0];
	call.flag = args[1];
	call.first_rtt_us = args[2];
	call.sack_rtt_us = args[3];
	call.last_rtt_us = args[4];
	call.rs = args[5];
	call.watch = cfg->watch;
	if (passes(cfg, (const void *)call.sk, call.first_rtt_us, call.last_rtt_us))
		/* Only the low byte of a bool's register is defined. */
		returned(cfg, &call, (__u8)args[6], RTT_HOOK_FEXIT);
}

SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit(__u64 *ctx)
{
	whole_call(ctx);
	return 0;
}

/*
 * For the tests: BPF_PROG_TEST_RUN hands over any arguments, on kernels that allow no tracing, too. Socket addresses
 * that are none read as zeroes. Never loaded otherwise.
 */
SEC("raw_tp")
int rtt_test_run(__u64 *ctx)
{
	whole_call(ctx);
	return 0;
}

SEC("kprobe/tcp_ack_update_rtt")
int rtt_kprobe(struct pt_regs *ctx)
{
	const struct rtt_config *cfg = current_config();
	struct rtt_counts *c = current_counts();
	__u64 frame = PT_REGS_SP(ctx);
	struct rtt_call call = {};

	if (!cfg || !c)
		return 0;
	call.sk = PT_REGS_PARM1(ctx);
	call.flag = PT_REGS_PARM2(ctx);
	call.first_rtt_us = PT_REGS_PARM3(ctx);
	call.sack_rtt_us = PT_REGS_PARM4(ctx);
	call.last_rtt_us = PT_REGS_PARM5(ctx);
	call.rs = ctx->r9; /* libbpf has no macro for the sixth */
	call.watch = cfg->watch;
	if (!passes(cfg, (const void *)call.sk, call.first_rtt_us, call.last_rtt_us))
		return 0;
	/* A call that is still here had this very frame and must have returned unseen. */
	if (bpf_map_lookup_elem(&calls, &frame))
		count(&c->lost_no_return);
	if (bpf_map_update_elem(&calls, &frame, &call, BPF_ANY))
		count(&c->lost_calls_full);
	return 0;
}

/* Takes the call whose frame is `frame` off the list of those under way. */
static __always_inline bool take_call(__u64 frame, struct rtt_call *call)
{
	struct rtt_call *entered = bpf_map_lookup_elem(&calls, &frame);

	if (!entered)
		return false;
	*call = *entered;
	bpf_map_delete_elem(&calls, &frame);
	return true;
}

SEC("kretprobe/tcp_ack_update_rtt")
int rtt_kretprobe(struct pt_regs *ctx)
{
	__u64 frame = PT_REGS_SP(ctx);
	const struct rtt_config *cfg;
	struct rtt_call call;

	/*
	 * On return the stack pointer is the one at entry without the return address, and one more word away where the
	 * kernel's trampoline pushed one first: by kernel version and kind of kprobe.
	 */
	if (!take_call(frame - 8, &call) && !take_call(frame, &call) && !take_call(frame - 16, &call) &&
	    !take_call(frame + 8, &call))
		return 0;
	cfg = current_config();
	if (cfg && cfg->watch == call.watch)
		returned(cfg, &call, (__u8)PT_REGS_RC(ctx), RTT_HOOK_KRETPROBE);
	return 0;
}
