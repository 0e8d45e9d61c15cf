// Vectors of a measuring payload: an interrupt that __meter_await waits for is stamped with CNTVCT by
// the first instruction of its handler; everything else goes to the runtime's vectors. See meter.rs.

.macro meter_pass_on offset
	.balign 0x80
	b	vectors + \offset
.endm

.section .text.probes.meter, "ax"
.balign 0x800
.global __meter_vectors
__meter_vectors:
	meter_pass_on 0x000
	meter_pass_on 0x080
	meter_pass_on 0x100
	meter_pass_on 0x180
	meter_pass_on 0x200

	// Only __meter_await has interrupts unmasked: it gives x9 to x11, x13 and x14 away.
	.balign 0x80
	mrs	x9, cntvct_el0
	msr	cntv_ctl_el0, xzr
	isb
	cbnz	x14, 1f
	mrs	x10, icc_iar1_el1
	dsb	sy
	msr	icc_eoir1_el1, x10
	b	2f
1:	ldr	w10, [x14, #0x0c]		// GICC_IAR
	str	w10, [x14, #0x10]		// GICC_EOIR
2:	isb
	msr	elr_el1, x13
	mrs	x11, spsr_el1
	orr	x11, x11, #0x80			// PSTATE.I
	msr	spsr_el1, x11
	eret

	meter_pass_on 0x300
	meter_pass_on 0x380
	meter_pass_on 0x400
	meter_pass_on 0x480
	meter_pass_on 0x500
	meter_pass_on 0x580
	meter_pass_on 0x600
	meter_pass_on 0x680
	meter_pass_on 0x700
	meter_pass_on 0x780

// x0 = GICC of a GICv2 or 0, x1 = 0 to sleep, 1 to spin. Returns the stamp and what was acknowledged.
.global __meter_await
.type __meter_await, %function
__meter_await:
	mov	x14, x0
	adr	x13, 4f
	msr	daifclr, #2
	cbnz	x1, 3f
2:	wfi
	b	2b
3:	b	3b
4:	mov	x0, x9
	mov	x1, x10
	ret
.size __meter_await, . - __meter_await
