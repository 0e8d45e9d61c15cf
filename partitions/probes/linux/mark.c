/*
 * mark NAME: tells an observer outside of the machine that a phase of the benchmark begins, by an
 * unallocated hint, which is a NOP to the CPU at any exception level (Arm ARM C6.2, HINT).
 */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	if (!strcmp(name, "shell"))
		__asm__ volatile("hint #96" ::: "memory");
	else if (!strcmp(name, "idle"))
		__asm__ volatile("hint #97" ::: "memory");
	else if (!strcmp(name, "latency"))
		__asm__ volatile("hint #98" ::: "memory");
	else if (!strcmp(name, "rest"))
		__asm__ volatile("hint #99" ::: "memory");
	else {
		fprintf(stderr, "usage: mark shell|idle|latency|rest\n");
		return 2;
	}
	return 0;
}
