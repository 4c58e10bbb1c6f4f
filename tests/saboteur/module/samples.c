// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of the samples: what tcp_clean_rtx_queue() and tcp_synack_rtt_meas() hand over to tcp_ack_update_rtt().
 *
 * The first is inlined in tcp_ack(), so the registers are changed at the calls.
 */
#include <linux/math64.h>
#include <net/tcp.h>

#include "saboteur.h"

/* net/ipv4/tcp_input.c has them to itself; the same from 5.10 to 7.3. */
#define FLAG_DATA_ACKED 0x04
#define FLAG_RETRANS_DATA_ACKED 0x08
#define FLAG_SYN_ACKED 0x10
#define FLAG_ACKED (FLAG_DATA_ACKED | FLAG_SYN_ACKED)

struct call {
	struct tcp_sock *tp;
	int flag;
	long first, sack, last; /* seq_rtt_us, sack_rtt_us, ca_rtt_us: microseconds, or -1 */
};

typedef void (*call_fault)(struct call *call);

static call_fault fault;
static struct kprobe probes[8];
static int count;

static long longer(long time)
{
	return time < 0 ? time : max(0L, time + amount);
}

static void first(struct call *call)
{
	if (call->first >= 0 && due())
		call->first = longer(call->first);
}

static void last(struct call *call)
{
	if (call->last >= 0 && due())
		call->last = longer(call->last);
}

static void sack(struct call *call)
{
	if (call->sack >= 0 && due())
		call->sack = longer(call->sack);
}

static bool has_time(const struct call *call)
{
	return call->first >= 0 || call->sack >= 0;
}

static void all(struct call *call)
{
	if (!has_time(call) || !due())
		return;
	call->first = longer(call->first);
	call->sack = longer(call->sack);
	call->last = longer(call->last);
}

/* Of a handshake only. */
static void handshake(struct call *call)
{
	if (call->flag & FLAG_SYN_ACKED)
		all(call);
}

/* amount: millionths more. */
static void scaled(struct call *call)
{
	long *times[] = { &call->first, &call->sack, &call->last };
	int i;

	if (!has_time(call) || !due())
		return;
	for (i = 0; i < ARRAY_SIZE(times); i++)
		if (*times[i] >= 0)
			*times[i] += div_s64(*times[i] * amount, 1000000);
}

/* To whole multiples of amount: down, or up by amount - 1 first. */
static void cut(struct call *call, long up)
{
	long *times[] = { &call->first, &call->sack, &call->last };
	int i;

	if (!has_time(call) || !due())
		return;
	for (i = 0; i < ARRAY_SIZE(times); i++)
		if (*times[i] >= 0)
			*times[i] = div_s64(*times[i] + up, amount) * amount;
}

static void cut_down(struct call *call)
{
	cut(call, 0);
}

static void cut_up(struct call *call)
{
	cut(call, amount - 1);
}

static bool differ(const struct call *call)
{
	return call->first >= 0 && call->last >= 0 && call->first != call->last;
}

static void swapped(struct call *call)
{
	if (differ(call) && due())
		swap(call->first, call->last);
}

/* The last segment's time where the first one's belongs. */
static void wrong_segment(struct call *call)
{
	if (differ(call) && due())
		call->first = call->last;
}

/* The time that the call before had. */
static void previous(struct call *call)
{
	static const struct tcp_sock *before_tp;
	static long before;
	long now = call->first;

	if (now < 0)
		return;
	if (before_tp == call->tp && before != now && due())
		call->first = call->last = before;
	before_tp = call->tp;
	before = now;
}

static void none(struct call *call)
{
	call->first = call->sack = call->last = -1;
}

/* No sample at all: without FLAG_ACKED timestamps are not asked either. */
static void dropped(struct call *call)
{
	if (!has_time(call) || !due())
		return;
	none(call);
	call->flag &= ~FLAG_ACKED;
}

static void handshake_dropped(struct call *call)
{
	if (call->flag & FLAG_SYN_ACKED)
		dropped(call);
}

static void sack_dropped(struct call *call)
{
	if (call->first < 0 && call->sack >= 0)
		dropped(call);
}

/* Times that there are are not handed over, and the echoed timestamp is taken in their place. */
static void fallback(struct call *call)
{
	if (has_time(call) && (call->flag & FLAG_ACKED) && call->tp->rx_opt.saw_tstamp && call->tp->rx_opt.rcv_tsecr &&
	    due())
		none(call);
}

static void no_fallback(struct call *call)
{
	if (!has_time(call) && (call->flag & FLAG_ACKED) && call->tp->rx_opt.saw_tstamp && call->tp->rx_opt.rcv_tsecr &&
	    due())
		call->flag &= ~FLAG_ACKED;
}

static void invent(struct call *call)
{
	if (!has_time(call) && call->tp->srtt_us && due())
		call->first = call->last = call->tp->srtt_us >> 3;
}

/* Karn's rule is not kept. */
static void karn(struct call *call)
{
	if (call->flag & FLAG_RETRANS_DATA_ACKED)
		invent(call);
}

/* ACKs that acknowledge nothing give a sample. */
static void undue(struct call *call)
{
	if (!(call->flag & FLAG_ACKED))
		invent(call);
}

/* The kernel says so itself. */
static void warning(struct call *call)
{
	if (has_time(call) && due())
		WARN(1, "saboteur: a warning\n");
}

static int at_call(struct kprobe *probe, struct pt_regs *regs)
{
	struct call call = {
		.tp = tcp_sk((struct sock *)regs->di),
		.flag = regs->si,
		.first = regs->dx,
		.sack = regs->cx,
		.last = regs->r8,
	};

	if (!fault)
		return 0;
	fault(&call);
	regs->si = call.flag;
	regs->dx = call.first;
	regs->cx = call.sack;
	regs->r8 = call.last;
	return 0;
}
NOKPROBE_SYMBOL(at_call);

static int start(void *apply)
{
	static const char target[] = "tcp_ack_update_rtt";
	int more;

	fault = apply;
	count = probe_calls("tcp_ack", target, at_call, probes, ARRAY_SIZE(probes));
	if (count < 0)
		return count;
	more = probe_calls("tcp_synack_rtt_meas", target, at_call, &probes[count], ARRAY_SIZE(probes) - count);
	if (more < 0) {
		drop_probes(probes, count);
		return more;
	}
	count += more;
	return 0;
}

static void stop(void)
{
	drop_probes(probes, count);
}

static const struct fault faults[] = {
	{ "first", first },
	{ "last", last },
	{ "sack", sack },
	{ "all", all },
	{ "handshake", handshake },
	{ "scaled", scaled },
	{ "cut_down", cut_down },
	{ "cut_up", cut_up },
	{ "swapped", swapped },
	{ "wrong_segment", wrong_segment },
	{ "previous", previous },
	{ "dropped", dropped },
	{ "handshake_dropped", handshake_dropped },
	{ "sack_dropped", sack_dropped },
	{ "fallback", fallback },
	{ "no_fallback", no_fallback },
	{ "karn", karn },
	{ "undue", undue },
	{ "warning", warning },
	{}
};

const struct part samples_part = { .faults = faults, .start = start, .stop = stop };
