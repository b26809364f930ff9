/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records written as text, for tests: a scenario compiles to the same bytes that a source emits.
 *
 * A line is a verb and key=value pairs; a value with blanks stands in "quotes"; "#" begins a comment.
 * Numbers are decimal or 0x hexadecimal, times as in base/duration.h. Lines that begin with "expect" are
 * left to the test that reads the scenario.
 *
 *	scan t=100s
 *	thread pid=10 tid=11 comm=dl-a slept=12s wait=0x1000 op=WAIT_PRIVATE val=2 fn=pthread_mutex_lock,transfer
 *	mutex addr=0x1000 owner=12
 *
 * Verbs and keys (in [] what may be left out, with the default):
 *   scan t= [pass=] [realtime=] [offset=0] [backend=memory]
 *	begins a scan at this CLOCK_MONOTONIC. Without pass= what follows, up to the next scan, is seen by all
 *	three passes, 1 ms apart; with it, by that pass alone. A key pass=1,3 on another line restricts that
 *	line to these passes.
 *   thread pid= tid= [nspid=pid] [nstid=tid] [pidns=1] [comm=] [pcomm=comm of the pid's first line] [state=S]
 *	[run=1] [runs_by_pass=0] [slept=] [ran=0] [start=1s] [pstart=1s] [cleartid=] [sp=] [exiting=0]
 *	[procfs=0: no arrival time, no clear_child_tid, run= is the switch count]
 *	and one of: wait= op= [val=0] [timeout=0] | syscall=NAME|NUMBER [args=a,b,...] | nothing (it runs if
 *	state=R). fn=[module!]function[@file:line],... gives it a stack (module: app, unless the function begins
 *	with pthread_, sem_ or __: libc.so.6). runs_by_pass adds to the run count with each pass: it moves.
 *   mutex addr= [pid=last] [lock=2] [count=0] [owner=0] [users=1 if owned] [kind=0]
 *   rwlock addr= [pid=last] [readers=0] [writers=0] [wrphase=0] [writers_futex=0] [writer=0] [flags=0]
 *   cond addr= [pid=last] [waiters=1] [glibc=36]	sem addr= [pid=last] [value=0] [waiters=1]
 *   barrier addr= [pid=last] in= [round=0] count=
 *   memory addr= [pid=last] words=a,b,...		unreadable addr= [pid=last]
 *   process pid= [comm=] [exe=] [cgroup=] [container=] [threads=0] [nspid=pid] [uid=0] [deleted=0] [exited=0]
 *   mapping pid= range=a-b [flags=rw-p] [inode=0] [offset=0] [path=]	(the first of a pid begins a list)
 *   libc pid= kind=glibc|musl|unknown [version=2.36]
 *   descriptor pid= fd= [kind=0] text=		symbol pid= addr= [name=] [start=addr] [bytes=40] [module=app]
 *   lost cause=NAME [pid=0] [count=1]		tick t= [realtime=]
 *
 * Of the order tier, in any place, each at its own t= (default: the last one, plus 1 ms):
 *   acquire tid= lock= [pid=last] [mode=x] [how=wait|try|again|cut] [held=LOCK,...] [gen=0] [acq=] [site=acq]
 *	[start=1s] [comm=] [fn=...]
 *	a thread wants a lock. mode: x mutex, w rwlock to write, s to read, r to read past waiting writers,
 *	p spin lock, m semaphore. held: what it holds, in the order of taking, each ADDRESS[:MODE][@ACQ][#GEN][!]
 *	("!": taken by a trylock). acq= names the way of taking; left out it is made of lock, thread and whether
 *	anything is held, and held= assumes the same of the thread's earlier ones. fn= is the stack of acq.
 *   reset lock= gen= [pid=last] [tid=pid]		create tid= child= [pid=last] [handle=] [start=1s] [held=]
 *   exit tid= [pid=last] [handle=]			join tid= handle= [pid=last] [held=]
 *   exec pid=						fork pid= child=
 */
#ifndef HOLDUP_EVENT_TEXT_H
#define HOLDUP_EVENT_TEXT_H

#include <stddef.h>

#include "event/event.h"

struct event_text_error {
	size_t line, column; /* both from 1 */
	char text[160];
};

/*
 * Compiles a scenario and gives each record to the sink. Returns 0, -EINVAL with ret_error filled, or what
 * the sink returned.
 */
int event_text_compile(const char *text, const struct event_sink *sink, struct event_text_error *ret_error);

#endif
