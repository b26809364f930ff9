/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbolize/probe_site.h"

#include <gelf.h>
#include <stdio.h>
#include <string.h>

#include "symbolize/libc_identify.h"
#include "symbolize/probe_site_arch.h"

enum {
	/* Of one table; the same bound as that of the names of a stack. */
	SYMBOL_MAX = 4 << 20,
	VERSION_MAX = 1000,
	DYNAMIC_MAX = 1000,
	/* Of the version section: this version is not the one that a linker chooses today. */
	VERSION_HIDDEN = 0x8000,
	/* Version numbers below mean "local" and "no version". */
	VERSION_FIRST = 2,
};

struct lock_function {
	const char *name;
	enum event_lock_function function;
	uint8_t argument_count;
	bool is_musl_only; /* in glibc it calls one of the others */
};

static const struct lock_function lock_functions[] = {
	{ "pthread_mutex_lock", EVENT_FUNCTION_MUTEX_LOCK, 1, false },
	{ "pthread_mutex_trylock", EVENT_FUNCTION_MUTEX_TRYLOCK, 1, false },
	{ "pthread_mutex_timedlock", EVENT_FUNCTION_MUTEX_TIMEDLOCK, 1, false },
	{ "pthread_mutex_clocklock", EVENT_FUNCTION_MUTEX_TIMEDLOCK, 1, false },
	{ "pthread_mutex_unlock", EVENT_FUNCTION_MUTEX_UNLOCK, 1, false },
	{ "pthread_mutex_init", EVENT_FUNCTION_MUTEX_INIT, 1, false },
	{ "pthread_mutex_destroy", EVENT_FUNCTION_MUTEX_DESTROY, 1, false },
	{ "pthread_rwlock_rdlock", EVENT_FUNCTION_RWLOCK_RDLOCK, 1, false },
	{ "pthread_rwlock_tryrdlock", EVENT_FUNCTION_RWLOCK_TRYRDLOCK, 1, false },
	{ "pthread_rwlock_timedrdlock", EVENT_FUNCTION_RWLOCK_TRYRDLOCK, 1, false },
	{ "pthread_rwlock_clockrdlock", EVENT_FUNCTION_RWLOCK_TRYRDLOCK, 1, false },
	{ "pthread_rwlock_wrlock", EVENT_FUNCTION_RWLOCK_WRLOCK, 1, false },
	{ "pthread_rwlock_trywrlock", EVENT_FUNCTION_RWLOCK_TRYWRLOCK, 1, false },
	{ "pthread_rwlock_timedwrlock", EVENT_FUNCTION_RWLOCK_TRYWRLOCK, 1, false },
	{ "pthread_rwlock_clockwrlock", EVENT_FUNCTION_RWLOCK_TRYWRLOCK, 1, false },
	{ "pthread_rwlock_unlock", EVENT_FUNCTION_RWLOCK_UNLOCK, 1, false },
	{ "pthread_rwlock_init", EVENT_FUNCTION_RWLOCK_INIT, 1, false },
	{ "pthread_rwlock_destroy", EVENT_FUNCTION_RWLOCK_DESTROY, 1, false },
	{ "pthread_spin_lock", EVENT_FUNCTION_SPIN_LOCK, 1, false },
	{ "pthread_spin_trylock", EVENT_FUNCTION_SPIN_TRYLOCK, 1, false },
	/* In glibc for x86 this is pthread_spin_init as well. */
	{ "pthread_spin_unlock", EVENT_FUNCTION_SPIN_UNLOCK, 1, false },
	{ "pthread_cond_wait", EVENT_FUNCTION_COND_WAIT, 2, false },
	{ "pthread_cond_timedwait", EVENT_FUNCTION_COND_WAIT, 2, false },
	{ "pthread_cond_clockwait", EVENT_FUNCTION_COND_WAIT, 2, false },
	{ "pthread_join", EVENT_FUNCTION_THREAD_JOIN, 1, false },
	{ "pthread_timedjoin_np", EVENT_FUNCTION_THREAD_JOIN, 1, false },
	{ "pthread_clockjoin_np", EVENT_FUNCTION_THREAD_JOIN, 1, false },
	{ "mtx_lock", EVENT_FUNCTION_MUTEX_LOCK, 1, true },
	{ "mtx_trylock", EVENT_FUNCTION_MUTEX_TRYLOCK, 1, true },
};

/* A lock function of the file: an address, and the best of its names. */
struct candidate {
	const struct lock_function *kind;
	uint64_t address, size_bytes;
	const char *name, *version;
	bool is_default; /* version */
};

struct candidates {
	struct candidate items[PROBE_SITE_FILE_MAX];
	size_t count;
	uint32_t left_out_count;
	bool starts_threads; /* defines pthread_create */
};

/* What the dynamic section tells. */
struct linkage {
	bool has_needed, has_name, is_libc; /* is_libc: it calls itself libc.so.6 */
};

static size_t leading_underscores(const char *name)
{
	return strspn(name, "_");
}

/* The function that a symbol names, or an internal alias of it: "___pthread_mutex_lock". */
static const struct lock_function *find_function(const char *name)
{
	size_t underscores = leading_underscores(name);
	name += underscores;
	if (underscores > 3 || (*name != 'p' && *name != 'm'))
		return NULL;
	for (size_t i = 0; i < sizeof(lock_functions) / sizeof(*lock_functions); i++) {
		if (!strcmp(lock_functions[i].name, name))
			return &lock_functions[i];
	}
	return NULL;
}

/* Which of two names of one function to tell: the one that programs are linked to now, then the plain one. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind;
	if (a->is_default != b->is_default)
		return a->is_default;
	return leading_underscores(a->name) < leading_underscores(b->name);
}

static void add(struct candidates *candidates, const struct candidate *candidate)
{
	for (size_t i = 0; i < candidates->count; i++) {
		struct candidate *known = &candidates->items[i];
		if (known->address != candidate->address)
			continue;
		if (is_better(candidate, known))
			*known = *candidate;
		return;
	}
	if (candidates->count < PROBE_SITE_FILE_MAX)
		candidates->items[candidates->count++] = *candidate;
	else
		candidates->left_out_count++;
}

/* The first section of a type, and its data; false when there is none. */
static bool find_section(Elf *elf, GElf_Word type, GElf_Shdr *ret_header, Elf_Data **ret_data)
{
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		if (!gelf_getshdr(section, ret_header) || ret_header->sh_type != type)
			continue;
		*ret_data = elf_getdata(section, NULL);
		return *ret_data && (*ret_data)->d_buf;
	}
	return false;
}

/* The name of a version that the file defines, or NULL. */
static const char *version_name(Elf *elf, unsigned number)
{
	GElf_Shdr header;
	GElf_Verdef definition;
	GElf_Verdaux name;
	Elf_Data *data;
	size_t at = 0;
	if (number < VERSION_FIRST || !find_section(elf, SHT_GNU_verdef, &header, &data))
		return NULL;
	for (int i = 0; i < VERSION_MAX && gelf_getverdef(data, (int)at, &definition); i++) {
		if (definition.vd_ndx == number)
			return gelf_getverdaux(data, (int)(at + definition.vd_aux), &name)
				       ? elf_strptr(elf, header.sh_link, name.vda_name)
				       : NULL;
		if (!definition.vd_next)
			break;
		at += definition.vd_next;
	}
	return NULL;
}

static void set_version(Elf *elf, Elf_Data *versions, int index, struct candidate *candidate)
{
	GElf_Versym version;
	candidate->is_default = true;
	if (!versions || !gelf_getversym(versions, index, &version))
		return;
	candidate->is_default = !(version & VERSION_HIDDEN);
	candidate->version = version_name(elf, version & ~VERSION_HIDDEN);
}

/* nptl/old_pthread_cond_*.c: the argument is a pointer to the real one there. Ports younger than 2.3.2 have none. */
static bool is_old_condition(const struct candidate *candidate)
{
	return candidate->kind->function == EVENT_FUNCTION_COND_WAIT && candidate->version &&
	       !strcmp(candidate->version, "GLIBC_2.2.5");
}

static void collect(Elf *elf, GElf_Word type, struct candidates *candidates)
{
	GElf_Shdr header, version_header;
	Elf_Data *data, *versions = NULL;
	if (!find_section(elf, type, &header, &data) || data->d_type != ELF_T_SYM)
		return;
	if (type == SHT_DYNSYM && !find_section(elf, SHT_GNU_versym, &version_header, &versions))
		versions = NULL;
	size_t count = data->d_size / sizeof(Elf64_Sym);
	for (size_t i = 1; i < count && i <= SYMBOL_MAX; i++) {
		GElf_Sym symbol;
		if (!gelf_getsym(data, (int)i, &symbol) || symbol.st_shndx == SHN_UNDEF ||
		    symbol.st_shndx == SHN_ABS || GELF_ST_TYPE(symbol.st_info) != STT_FUNC)
			continue;
		const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);
		struct candidate candidate = { .address = symbol.st_value, .size_bytes = symbol.st_size };
		if (!name)
			continue;
		candidates->starts_threads |= !strcmp(name, "pthread_create");
		candidate.name = name;
		candidate.kind = find_function(name);
		if (!candidate.kind)
			continue;
		set_version(elf, versions, (int)i, &candidate);
		if (!is_old_condition(&candidate))
			add(candidates, &candidate);
	}
}

static struct linkage read_linkage(Elf *elf)
{
	struct linkage linkage = { 0 };
	GElf_Shdr header;
	Elf_Data *data;
	if (!find_section(elf, SHT_DYNAMIC, &header, &data))
		return linkage;
	GElf_Dyn entry;
	for (int i = 0; i < DYNAMIC_MAX && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
		const char *name = NULL;
		linkage.has_needed |= entry.d_tag == DT_NEEDED;
		if (entry.d_tag != DT_SONAME)
			continue;
		linkage.has_name = true;
		name = elf_strptr(elf, header.sh_link, entry.d_un.d_val);
		linkage.is_libc = name && !strcmp(name, "libc.so.6");
	}
	return linkage;
}

static void find_candidates(Elf *elf, struct candidates *ret_candidates)
{
	const struct linkage linkage = read_linkage(elf);
	ret_candidates->count = 0;
	ret_candidates->left_out_count = 0;
	ret_candidates->starts_threads = false;
	collect(elf, SHT_DYNSYM, ret_candidates);
	/* A static program, position independent or not; a library without dependencies still has a name. */
	if (!ret_candidates->count && !linkage.has_needed && !linkage.has_name)
		collect(elf, SHT_SYMTAB, ret_candidates);
	/* nptl/forward.c, until libpthread became part of libc in 2.34. */
	if (linkage.is_libc && !ret_candidates->starts_threads)
		ret_candidates->count = 0;
}

/* The code of a function; false when the file has none there. */
static bool find_code(const struct module *module, const struct candidate *candidate, uint32_t kernel_flags,
		      struct probe_code *ret_code, uint64_t *ret_offset)
{
	for (size_t i = 0; i < module->segment_count; i++) {
		const struct segment *segment = &module->segments[i];
		if (!segment->executable || candidate->address < segment->address ||
		    candidate->address - segment->address >= segment->file_bytes)
			continue;
		if (segment->offset >= module->image.length)
			return false;
		uint64_t length = module->image.length - segment->offset;
		if (length > segment->file_bytes)
			length = segment->file_bytes;
		uint64_t entry = candidate->address - segment->address;
		if (entry >= length)
			return false;
		*ret_code = (struct probe_code){
			.bytes = module->image.bytes + segment->offset,
			.length = (size_t)length,
			.entry = (size_t)entry,
			.function_bytes = candidate->size_bytes,
			.argument_count = candidate->kind->argument_count,
			.kernel_flags = kernel_flags,
		};
		*ret_offset = segment->offset + entry;
		return true;
	}
	return false;
}

static void write_name(const struct candidate *candidate, char ret_name[PROBE_SITE_NAME_MAX + 1])
{
	snprintf(ret_name, PROBE_SITE_NAME_MAX + 1, "%s%s%s", candidate->name,
		 !candidate->version	 ? ""
		 : candidate->is_default ? "@@"
					 : "@",
		 candidate->version ? candidate->version : "");
}

void probe_sites_find(struct module *module, struct ask *ask, uint64_t mapping_start, uint32_t kernel_flags,
		      struct probe_sites *ret_sites)
{
	struct candidates candidates;
	ret_sites->count = ret_sites->left_out_count = 0;
	find_candidates(module->elf, &candidates);
	if (!candidates.count)
		return;
	ret_sites->left_out_count = candidates.left_out_count;
	const uint32_t libc_kind = libc_identify(module, ask, mapping_start).kind;
	for (size_t i = 0; i < candidates.count; i++) {
		const struct candidate *candidate = &candidates.items[i];
		struct probe_code code;
		struct probe_choice choice;
		uint64_t offset;
		if ((candidate->kind->is_musl_only && libc_kind != EVENT_LIBC_MUSL) ||
		    !find_code(module, candidate, kernel_flags, &code, &offset) ||
		    probe_site_choose(&code, &choice))
			continue;
		ret_sites->sites[ret_sites->count] = (struct message_probe_site){
			.file_offset = offset + choice.entry_distance_bytes,
			.function = candidate->kind->function,
			.entry_distance_bytes = choice.entry_distance_bytes,
			.return_address_offset_bytes = choice.return_address_offset_bytes,
			.flags = choice.flags,
			.libc_kind = libc_kind,
		};
		write_name(candidate, ret_sites->names[ret_sites->count++]);
	}
}
