/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>

#include "sink/open_findings.h"
#include "sink_sample.h"
#include "unit.h"

static bool is_never_gone(uint32_t pid)
{
	return false;
}

static bool is_always_gone(uint32_t pid)
{
	return true;
}

static struct finding *finding_of(uint64_t fingerprint, uint32_t pid)
{
	struct finding *finding = sample_finding(FINDING_DEADLOCK, CERTAINTY_CERTAIN);
	finding->fingerprint = fingerprint;
	finding->evidence.process.pid = pid;
	return finding;
}

START_TEST(a_finding_is_news_once)
{
	struct open_findings open;
	struct finding *one = finding_of(1, 10), *same_bug = finding_of(1, 11), *other = finding_of(2, 10);
	open_findings_init(&open, 8);
	for (int look = 0; look < 5; look++) {
		enum open_findings_news want = look ? OPEN_FINDINGS_KNOWN : OPEN_FINDINGS_NEW;
		struct sink_resolution resolution;
		open_findings_begin(&open);
		ck_assert_int_eq(open_findings_take(&open, one), want);
		ck_assert_int_eq(open_findings_take(&open, one), OPEN_FINDINGS_KNOWN);
		ck_assert_int_eq(open_findings_take(&open, same_bug), want);
		ck_assert_int_eq(open_findings_take(&open, other), want);
		ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_always_gone, &resolution));
	}
	open_findings_release(&open);
	finding_free(one);
	finding_free(same_bug);
	finding_free(other);
}
END_TEST

START_TEST(one_missed_look_is_no_resolution)
{
	struct open_findings open;
	struct sink_resolution resolution;
	struct finding *finding = finding_of(1, 10);
	open_findings_init(&open, 8);
	open_findings_begin(&open);
	open_findings_take(&open, finding);

	open_findings_begin(&open);
	ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_never_gone, &resolution));
	open_findings_begin(&open);
	ck_assert_int_eq(open_findings_take(&open, finding), OPEN_FINDINGS_KNOWN);
	ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_never_gone, &resolution));
	open_findings_begin(&open);
	ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_never_gone, &resolution));
	open_findings_begin(&open);
	ck_assert(open_findings_next_resolved(&open, SAMPLE_TIME_NS + 5, is_never_gone, &resolution));
	ck_assert_uint_eq(resolution.fingerprint, 1);
	ck_assert_uint_eq(resolution.pid, 10);
	ck_assert_str_eq(resolution.comm, "dl");
	ck_assert_uint_eq(resolution.open_ns, 5);
	ck_assert_uint_eq(resolution.time_realtime_ns, SAMPLE_TIME_NS + 5);
	ck_assert(!resolution.process_gone);
	ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_never_gone, &resolution));
	/* It comes back: news again. */
	open_findings_begin(&open);
	ck_assert_int_eq(open_findings_take(&open, finding), OPEN_FINDINGS_NEW);
	open_findings_release(&open);
	finding_free(finding);
}
END_TEST

START_TEST(with_its_process_a_finding_goes_at_once)
{
	struct open_findings open;
	struct sink_resolution resolution;
	struct finding *gone = finding_of(1, 10), *stays = finding_of(2, 10);
	open_findings_init(&open, 8);
	open_findings_begin(&open);
	open_findings_take(&open, gone);
	open_findings_take(&open, stays);
	open_findings_begin(&open);
	open_findings_take(&open, stays);
	/* The clock of the day was set back meanwhile. */
	ck_assert(open_findings_next_resolved(&open, SAMPLE_TIME_NS - 5, is_always_gone, &resolution));
	ck_assert_uint_eq(resolution.fingerprint, 1);
	ck_assert(resolution.process_gone);
	ck_assert_uint_eq(resolution.open_ns, 0);
	ck_assert(!open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_always_gone, &resolution));
	open_findings_release(&open);
	finding_free(gone);
	finding_free(stays);
}
END_TEST

START_TEST(the_table_is_bounded)
{
	struct open_findings open;
	struct sink_resolution resolution;
	open_findings_init(&open, 100);
	open_findings_begin(&open);
	for (uint32_t i = 0; i < 150; i++) {
		struct finding *finding = finding_of(i, 10);
		ck_assert_int_eq(open_findings_take(&open, finding),
				 i < 100 ? OPEN_FINDINGS_NEW : OPEN_FINDINGS_REFUSED);
		finding_free(finding);
	}
	ck_assert_uint_eq(open.refused_count, 50);
	open_findings_begin(&open);
	unsigned resolved_count = 0;
	while (open_findings_next_resolved(&open, SAMPLE_TIME_NS, is_always_gone, &resolution))
		resolved_count++;
	ck_assert_uint_eq(resolved_count, 100);
	open_findings_release(&open);
}
END_TEST

UNIT_TESTS("sink/open_findings", a_finding_is_news_once, one_missed_look_is_no_resolution,
	   with_its_process_a_finding_goes_at_once, the_table_is_bounded)
