/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A shared object of hundred_dso: built with -DHERE=hop_041 -DNEXT=hop_042; the last one has no NEXT. */
int HERE(void (*last)(const void *), const void *argument);

#ifdef NEXT
int NEXT(void (*last)(const void *), const void *argument);
#endif

int HERE(void (*last)(const void *), const void *argument)
{
#ifdef NEXT
	return NEXT(last, argument) + 1;
#else
	last(argument);
	return 1;
#endif
}
