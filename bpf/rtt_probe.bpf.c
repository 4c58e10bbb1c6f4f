/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records every call of tcp_ack_update_rtt() through fexit, or through kprobe and kretprobe.
 *
 *   static bool tcp_ack_update_rtt(struct sock *sk, const int flag, long seq_rtt_us, long sack_rtt_us,
 *                                  long ca_rtt_us, struct rate_sample *rs)
 *
 * Signature and meaning are the same from Linux 5.10 to 7.3. User space proves the arguments through BTF and attaches
 * one of the two; both fill the same struct rtt_call, so that they make the same event.
 *
 * 5.10 has no atomic operation that returns a value, no bpf_loop() and no socket storage for tracing programs: none is
 * used, except for the last in the programs that 5.10 does not need.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "rtt_record.h"

static __always_inline bool long_enough(const struct rtt_config *cfg, const struct rtt_call *call)
{
	/* A call without a first-acked sample passes while no filter is set: it may still have taken a sample. */
	if (cfg->first_below_us && call->first_rtt_us < cfg->first_below_us)
		return false;
	return !cfg->last_below_us || (call->first_rtt_us >= 0 && call->last_rtt_us >= cfg->last_below_us);
}

static __always_inline bool passes(const struct rtt_config *cfg, const struct rtt_call *call, const struct sock *sk,
				   bool direct)
{
	return long_enough(cfg, call) && is_watched(cfg, sk, direct);
}

/* A call that passed the filters has returned; `rs_rtt_us` is what its last argument has then. */
static __always_inline void returned(const struct rtt_config *cfg, const struct rtt_call *call, const struct sock *sk,
				     __s64 rs_rtt_us, bool taken, __u8 hook, struct rtt_connection *kept, bool direct)
{
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct tcp_sock *tp = (const void *)sk;
	struct rtt_reading saw = {};

	saw.sk = sk;
	saw.first_rtt_us = saw.counted_us = call->first_rtt_us;
	saw.sack_rtt_us = call->sack_rtt_us;
	saw.last_rtt_us = call->last_rtt_us;
	saw.rs_rtt_us = rs_rtt_us;
	/* The order of tcp_ack_update_rtt() itself: first-acked, else SACK, else the timestamp fallback. */
	if (!taken)
		saw.sample_us = -1;
	else if (call->first_rtt_us >= 0)
		saw.sample_us = call->first_rtt_us;
	else if (call->sack_rtt_us >= 0)
		saw.sample_us = call->sack_rtt_us;
	else
		saw.sample_us = saw.rs_rtt_us;
	saw.srtt_us = READ(tp, srtt_us);
	saw.rto_jiffies = READ(icsk, icsk_rto);
	saw.backoff = READ(icsk, icsk_backoff);
	saw.flag = call->flag;
	saw.watch = call->watch;
	saw.taken = taken;
	saw.hook = hook;
	record(cfg, &saw, kept, direct);
}

static __always_inline void arguments(struct rtt_call *call, const struct rtt_config *cfg, const __u64 *args)
{
	call->sk = args[0];
	call->flag = args[1];
	call->first_rtt_us = args[2];
	call->sack_rtt_us = args[3];
	call->last_rtt_us = args[4];
	call->rs = args[5];
	call->watch = cfg->watch;
}

static __always_inline __s64 rate_sample_rtt(const void *address)
{
	const struct rate_sample *rs = address;

	return BPF_CORE_READ(rs, rtt_us);
}

/* Sees every call before 5.12, where the kernel runs a program whether or not it is running already. */
SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit(__u64 *ctx)
{
	/* The verifier knows the arguments' types only as they are here, and a full TCP socket only from the helper. */
	const struct sock *sk = (const void *)bpf_skc_to_tcp_sock((void *)ctx[0]);
	const struct rate_sample *rs = (const void *)ctx[5];
	const struct rtt_config *cfg = current_config();
	struct rtt_call call = {};

	if (!cfg || !sk)
		return 0;
	arguments(&call, cfg, ctx);
	if (passes(cfg, &call, sk, true))
		/* Only the low byte of a bool's register is defined. */
		returned(cfg, &call, sk, rs->rtt_us, (__u8)ctx[6], RTT_HOOK_FEXIT, NULL, true);
	return 0;
}

/*
 * Since 5.12 the kernel skips a tracing program that is running on that CPU already (__bpf_prog_enter_recur()): for all
 * calls that a softirq makes while it interrupts the program, and on a preemptible kernel (PREEMPT_RT, and Debian's 7.3
 * with PREEMPT_LAZY) for all calls of other threads until the one that was preempted in the program comes back, a time
 * slice later. No flag turns this off, and to disable preemption in the program does not help: the kernel would preempt
 * where the program enables it again, before it ends.
 *
 * But each program is skipped for itself. So there are some that do the same: whichever the kernel runs first records
 * the call and leaves a mark on the socket for the others. A call is lost only when all of them were interrupted at
 * once, one in the middle of the other.
 *
 * The caller has locked the socket, so that until all programs are through no other call can see or change its mark.
 * A program that is marked already has a new call before it; the time of the ACK and the frame tell one that is not.
 */
struct rtt_mark {
	__u64 frame;
	__u64 tcp_mstamp_us;
	__u32 ran;   /* bits of the programs that the call has been through */
	__u32 watch; /* the last that the socket's namespace was found to belong to */
	struct rtt_connection connection; /* here rather than in the map: the mark is at hand anyway */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct rtt_mark);
} marks SEC(".maps");

#define FIRST 1

/* The mark of a call that no program has been through yet, if it is to be recorded; NULL also where memory is short. */
static __always_inline struct rtt_mark *mark_of(const struct rtt_config *cfg, __u64 *ctx, const struct tcp_sock *tp,
						struct rtt_mark *mark, __u32 program)
{
	const struct sock *sk = (const void *)tp;
	struct rtt_counts *c;

	if (!at_port(cfg, sk, true) || ((!mark || mark->watch != cfg->watch) && !in_netns(cfg, sk, true)))
		return NULL;
	if (!mark)
		mark = bpf_sk_storage_get(&marks, (struct sock *)ctx[0], NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (mark) {
		mark->frame = (__u64)ctx;
		mark->tcp_mstamp_us = tp->tcp_mstamp;
		mark->ran = program;
		mark->watch = cfg->watch;
	} else if (program == FIRST) {
		c = current_counts();
		if (c) {
			count(&c->calls);
			count(&c->lost_no_identity);
		}
	}
	return mark;
}

static __always_inline void shared_call(__u64 *ctx, __u32 program)
{
	const struct rtt_config *cfg = current_config();
	const struct rate_sample *rs = (const void *)ctx[5];
	struct rtt_call call = {};
	const struct tcp_sock *tp;
	struct rtt_counts *c;
	struct rtt_mark *mark;

	if (!cfg)
		return;
	tp = bpf_skc_to_tcp_sock((void *)ctx[0]); /* as in rtt_fexit() */
	c = current_counts();
	if (!tp || !c)
		return;
	mark = bpf_sk_storage_get(&marks, (struct sock *)ctx[0], NULL, 0);
	if (mark && mark->frame == (__u64)ctx && mark->tcp_mstamp_us == tp->tcp_mstamp && !(mark->ran & program)) {
		mark->ran |= program;
		if (program == FIRST) /* it was not skipped after all: the kernel runs it after another */
			__sync_fetch_and_add(&c->stood_in, -1);
		return;
	}
	arguments(&call, cfg, ctx);
	if (!long_enough(cfg, &call))
		return;
	mark = mark_of(cfg, ctx, tp, mark, program);
	if (!mark)
		return;
	if (program != FIRST)
		count(&c->stood_in);
	returned(cfg, &call, (const void *)tp, rs->rtt_us, (__u8)ctx[6], RTT_HOOK_FEXIT, &mark->connection, true);
}

SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit_1(__u64 *ctx)
{
	shared_call(ctx, FIRST);
	return 0;
}

SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit_2(__u64 *ctx)
{
	shared_call(ctx, 2);
	return 0;
}

SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit_3(__u64 *ctx)
{
	shared_call(ctx, 4);
	return 0;
}

SEC("fexit/tcp_ack_update_rtt")
int rtt_fexit_4(__u64 *ctx)
{
	shared_call(ctx, 8);
	return 0;
}

/*
 * For the tests: BPF_PROG_TEST_RUN passes any arguments, on kernels that allow no tracing, too. Invalid socket
 * addresses read as zeroes. Never loaded otherwise.
 */
SEC("raw_tp")
int rtt_test_run(__u64 *ctx)
{
	const struct rtt_config *cfg = current_config();
	const struct sock *sk = (const void *)ctx[0];
	struct rtt_call call = {};

	if (!cfg)
		return 0;
	arguments(&call, cfg, ctx);
	if (passes(cfg, &call, sk, false))
		returned(cfg, &call, sk, rate_sample_rtt((const void *)call.rs), (__u8)ctx[6], RTT_HOOK_FEXIT, NULL, false);
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
	if (!passes(cfg, &call, (const void *)call.sk, false))
		return 0;
	/* A call that is still listed had this very frame, so its return was missed. */
	if (bpf_map_lookup_elem(&calls, &frame))
		count(&c->lost_no_return);
	if (bpf_map_update_elem(&calls, &frame, &call, BPF_ANY))
		count(&c->lost_calls_full);
	return 0;
}

/* Removes the call whose frame is `frame` from the list of calls in progress. */
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
		returned(cfg, &call, (const void *)call.sk, rate_sample_rtt((const void *)call.rs),
			 (__u8)PT_REGS_RC(ctx), RTT_HOOK_KRETPROBE, NULL, false);
	return 0;
}
