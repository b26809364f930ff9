/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/libc_identify.h"

#include <ctype.h>
#include <gelf.h>
#include <stdio.h>
#include <string.h>

#include "symbolize/elf_symbols.h"

enum { BANNER_MAX_BYTES = 256, VERSION_MAX = 1000 };

/* "2.36" at the start of the text; false if it isn't of that form. */
static bool parse_version(const char *text, size_t length, struct message_libc *ret_libc)
{
	char copy[16] = { 0 };
	unsigned major, minor;
	memcpy(copy, text, length < sizeof(copy) - 1 ? length : sizeof(copy) - 1);
	if (sscanf(copy, "%3u.%3u", &major, &minor) != 2 || major > VERSION_MAX || minor > VERSION_MAX)
		return false;
	*ret_libc = (struct message_libc){ .kind = EVENT_LIBC_GLIBC, .major = major, .minor = minor };
	return true;
}

static bool find_banner(const uint8_t *bytes, size_t length, struct message_libc *ret_libc)
{
	static const char name[] = "GNU C Library ", version[] = "release version ";
	const uint8_t *end = bytes + length;
	for (const uint8_t *at = bytes; (at = memmem(at, (size_t)(end - at), name, sizeof(name) - 1)); at++) {
		size_t left = (size_t)(end - at) < BANNER_MAX_BYTES ? (size_t)(end - at) : BANNER_MAX_BYTES;
		const char *found = memmem(at, left, version, sizeof(version) - 1);
		if (!found)
			continue;
		found += sizeof(version) - 1;
		if (parse_version(found, left - (size_t)(found - (const char *)at), ret_libc))
			return true;
	}
	return false;
}

static bool contains(const uint8_t *bytes, size_t length, const char *text, size_t text_bytes)
{
	return memmem(bytes, length, text, text_bytes);
}

/* The highest GLIBC_x.y among the versions that a library defines. */
static bool find_version_definition(Elf *elf, struct message_libc *ret_libc)
{
	bool found = false;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		GElf_Shdr header;
		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_GNU_verdef)
			continue;
		Elf_Data *data = elf_getdata(section, NULL);
		size_t at = 0;
		GElf_Verdef definition;
		GElf_Verdaux name;
		for (int i = 0; data && i < VERSION_MAX && gelf_getverdef(data, (int)at, &definition); i++) {
			const char *text = NULL;
			struct message_libc libc;
			if (gelf_getverdaux(data, (int)(at + definition.vd_aux), &name))
				text = elf_strptr(elf, header.sh_link, name.vda_name);
			if (text && !strncmp(text, "GLIBC_", 6) &&
			    parse_version(text + 6, strlen(text + 6), &libc) &&
			    (!found || libc.major > ret_libc->major ||
			     (libc.major == ret_libc->major && libc.minor > ret_libc->minor))) {
				*ret_libc = libc;
				found = true;
			}
			if (!definition.vd_next)
				break;
			at += definition.vd_next;
		}
	}
	return found;
}

/*
 * A static program has no versions and, unless it asks for it, no banner; but it has glibc's error texts, and
 * if it can start threads, the version on its own, for thread debuggers (nptl_version, which libthread_db
 * reads).
 */
static bool find_static_glibc(const struct image *image, struct message_libc *ret_libc)
{
	static const char tunables[] = "GLIBC_TUNABLES", fatal[] = "Fatal glibc error",
			  start[] = "\0"
				    "2.";
	enum { TEXT_BYTES = sizeof(start) - 1 + 3 }; /* with two digits and a NUL */
	if (!contains(image->bytes, image->length, tunables, sizeof(tunables)) &&
	    !contains(image->bytes, image->length, fatal, sizeof(fatal) - 1))
		return false;
	*ret_libc = (struct message_libc){ .kind = EVENT_LIBC_GLIBC };
	const uint8_t *end = image->bytes + image->length;
	for (const uint8_t *at = image->bytes;
	     (at = memmem(at, (size_t)(end - at), start, sizeof(start) - 1)); at++) {
		if (end - at < TEXT_BYTES)
			break;
		if (isdigit(at[3]) && isdigit(at[4]) && !at[5] &&
		    parse_version((const char *)at + 1, 4, ret_libc))
			break;
	}
	return true;
}

/* musl's linker text; the run-time symbols that every static program of it has; its word for errno 0. */
static bool is_musl(struct module *module, struct ask *ask, uint64_t mapping_start)
{
	static const char usage[] = "musl libc (", no_error[] = "\0No error information";
	const struct image *image = &module->image;
	return contains(image->bytes, image->length, usage, sizeof(usage) - 1) ||
	       contains(image->bytes, image->length, no_error, sizeof(no_error)) ||
	       (elf_symbols_defines(module, ask, mapping_start, "__init_libc") &&
		elf_symbols_defines(module, ask, mapping_start, "__libc_start_init"));
}

struct message_libc libc_identify(struct module *module, struct ask *ask, uint64_t mapping_start)
{
	if (module->libc_tried)
		return module->libc;
	module->libc_tried = true;
	module->libc = (struct message_libc){ .kind = EVENT_LIBC_UNKNOWN };
	if (!find_version_definition(module->elf, &module->libc) &&
	    !find_banner(module->image.bytes, module->image.length, &module->libc) &&
	    !find_static_glibc(&module->image, &module->libc) && is_musl(module, ask, mapping_start))
		module->libc.kind = EVENT_LIBC_MUSL;
	struct message_libc banner;
	/* A release that adds no symbol adds no version: the banner knows better. */
	if (module->libc.kind == EVENT_LIBC_GLIBC &&
	    find_banner(module->image.bytes, module->image.length, &banner))
		module->libc = banner;
	return module->libc;
}
