// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of what tcp_ack_update_rtt() makes of a sample: srtt, mdev, RTO, backoff, the windowed minimum, and the
 * fallback to timestamps.
 *
 * tcp_rtt_estimator() and the others are inlined in it. State is remembered behind its ftrace call and changed at its
 * return instruction, so that what hangs on its exit sees the state as it stays.
 */
#include <linux/math64.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/version.h>
#include <linux/win_minmax.h>
#include <net/tcp.h>

#include "saboteur.h"

struct update {
	const struct task_struct *task;
	bool softirq;
	struct sock *sk;
	struct tcp_sock *tp;
	struct rate_sample *rs;
	long first, sack;
	/* As it was before. */
	u32 srtt, mdev, rttvar, tsecr;
	u8 backoff;
	struct minmax minimum;
};

struct state_fault {
	void (*enter)(struct update *update);
	void (*leave)(struct update *update, bool taken);
};

/* A softirq may come while a thread works on a socket's backlog: the last to enter leaves first. */
struct updates {
	struct update at[8];
	int count;
};

static DEFINE_PER_CPU(struct updates, updates);
static const struct state_fault *fault;
static struct kprobe body, returns[8];
static int count;

static long sample_of(const struct update *update)
{
	if (update->first >= 0)
		return update->first;
	return update->sack >= 0 ? update->sack : update->rs->rtt_us;
}

/* tcp_set_rto() */
static void set_rto(struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	inet_csk(sk)->icsk_rto = min_t(unsigned long, usecs_to_jiffies((tp->srtt_us >> 3) + tp->rttvar_us), 120 * HZ);
}

/* 1/4 of the error, and not 1/8. */
static void srtt_gain(struct update *update, bool taken)
{
	long error = sample_of(update) - (update->srtt >> 3);

	if (!taken || !update->srtt || !error || !due())
		return;
	update->tp->srtt_us = max_t(long, 1, update->srtt + 2 * error);
	set_rto(update->sk);
}

static void srtt_off(struct update *update, bool taken)
{
	if (!taken || !due())
		return;
	update->tp->srtt_us += amount << 3;
	set_rto(update->sk);
}

/* The sample is taken, and the estimate stays what it was. */
static void srtt_stuck(struct update *update, bool taken)
{
	if (!taken || !update->srtt || update->tp->srtt_us == update->srtt || !due())
		return;
	update->tp->srtt_us = update->srtt;
	set_rto(update->sk);
}

/* mdev moves twice as far as it should. */
static void mdev_gain(struct update *update, bool taken)
{
	long moved = (long)update->tp->mdev_us - update->mdev;

	if (taken && update->srtt && moved && due())
		update->tp->mdev_us = max_t(long, 0, update->tp->mdev_us + moved);
}

static void rttvar_off(struct update *update, bool taken)
{
	if (!taken || !due())
		return;
	update->tp->rttvar_us += amount;
	set_rto(update->sk);
}

static void rto_off(struct update *update, bool taken)
{
	struct inet_connection_sock *icsk = inet_csk(update->sk);

	if (taken && due())
		icsk->icsk_rto = div_u64((u64)icsk->icsk_rto * percent, 100);
}

static void backoff_kept(struct update *update, bool taken)
{
	if (taken && update->backoff && due())
		inet_csk(update->sk)->icsk_backoff = update->backoff;
}

static bool had_minimum(const struct update *update)
{
	return minmax_get(&update->minimum) != ~0U;
}

static void minimum_first(struct update *update, bool taken)
{
	if (taken && had_minimum(update) && memcmp(&update->tp->rtt_min, &update->minimum, sizeof(struct minmax)) &&
	    due())
		update->tp->rtt_min = update->minimum;
}

static void minimum_stays_high(struct update *update, bool taken)
{
	if (minmax_get(&update->tp->rtt_min) < minmax_get(&update->minimum))
		minimum_first(update, taken);
}

static void minimum_stays_low(struct update *update, bool taken)
{
	if (minmax_get(&update->tp->rtt_min) > minmax_get(&update->minimum))
		minimum_first(update, taken);
}

static void minimum_off(struct update *update, bool taken)
{
	struct minmax *minimum = &update->tp->rtt_min;
	int i;

	if (!taken || minimum->s[0].v == update->minimum.s[0].v || !due())
		return;
	for (i = 0; i < ARRAY_SIZE(minimum->s); i++)
		minimum->s[i].v = div_u64((u64)minimum->s[i].v * percent, 100);
}

/* A sample from timestamps is half as long. The echo is put back before anybody else looks. */
static void halve(struct update *update)
{
	struct tcp_sock *tp = update->tp;
	u32 now, passed;

	if (update->first >= 0 || update->sack >= 0 || !tp->rx_opt.saw_tstamp || !tp->rx_opt.rcv_tsecr)
		return;
	now = div_u64(tp->tcp_mstamp, USEC_PER_MSEC);
	passed = now - tp->rx_opt.rcv_tsecr;
	if (passed >= 2 && passed < 60 * MSEC_PER_SEC)
		tp->rx_opt.rcv_tsecr = now - passed / 2;
}

static void unhalve(struct update *update, bool taken)
{
	if (update->tp->rx_opt.rcv_tsecr != update->tsecr && taken)
		due();
	update->tp->rx_opt.rcv_tsecr = update->tsecr;
}

static int at_body(struct kprobe *probe, struct pt_regs *regs)
{
	struct updates *all = this_cpu_ptr(&updates);
	struct tcp_sock *tp = tcp_sk((struct sock *)regs->di);
	struct update *update;

	/* What never left: at most the newest is lost. */
	if (all->count == ARRAY_SIZE(all->at))
		all->count = 0;
	update = &all->at[all->count++];
	*update = (struct update){
		.task = current,
		.softirq = in_serving_softirq(),
		.sk = (struct sock *)regs->di,
		.tp = tp,
		.rs = (struct rate_sample *)regs->r9,
		.first = regs->dx,
		.sack = regs->cx,
		.srtt = tp->srtt_us,
		.mdev = tp->mdev_us,
		.rttvar = tp->rttvar_us,
		.tsecr = tp->rx_opt.rcv_tsecr,
		.backoff = inet_csk((struct sock *)regs->di)->icsk_backoff,
		.minimum = tp->rtt_min,
	};
	if (fault && fault->enter)
		fault->enter(update);
	return 0;
}
NOKPROBE_SYMBOL(at_body);

static int at_return(struct kprobe *probe, struct pt_regs *regs)
{
	struct updates *all = this_cpu_ptr(&updates);
	struct update *update;

	if (!all->count)
		return 0;
	update = &all->at[all->count - 1];
	if (update->task != current || update->softirq != !!in_serving_softirq())
		return 0;
	all->count--;
	if (fault && fault->leave)
		fault->leave(update, regs->ax & 0xff);
	return 0;
}
NOKPROBE_SYMBOL(at_return);

static int start(void *apply)
{
	static const char function[] = "tcp_ack_update_rtt";
	int failed;

	fault = apply;
	count = probe_returns(function, at_return, returns, ARRAY_SIZE(returns));
	if (count < 0)
		return count;
	failed = probe_body(function, at_body, &body);
	if (failed < 0) {
		drop_probes(returns, count);
		return failed;
	}
	return 0;
}

static void stop(void)
{
	unregister_kprobe(&body);
	drop_probes(returns, count);
}

#define STATE(name) { #name, &(struct state_fault){ .leave = name } }
static const struct fault faults[] = {
	STATE(srtt_gain),
	STATE(srtt_off),
	STATE(srtt_stuck),
	STATE(mdev_gain),
	STATE(rttvar_off),
	STATE(rto_off),
	STATE(backoff_kept),
	STATE(minimum_first),
	STATE(minimum_stays_high),
	STATE(minimum_stays_low),
	STATE(minimum_off),
	{ "timestamps_halved", &(struct state_fault){ .enter = halve, .leave = unhalve } },
	{}
};

const struct part estimator_part = { .faults = faults, .start = start, .stop = stop };
