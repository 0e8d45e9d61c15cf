// SPDX-License-Identifier: GPL-2.0
/*
 * bulkhead.ko: the ports of a partition of the Bulkhead hypervisor as character
 * devices. Binds to the node of bulkhead,partition.yaml, reads the port table
 * from the information region, maps the ports' regions, creates the devices.
 *
 * Tables of the information region are the compiler's and sealed in the image.
 * They are checked all the same, once, here: what passes is relied on elsewhere.
 */
#include <linux/align.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "partition.h"

/* Longest message and longest region that this module takes. */
#define MESSAGE_BYTES_MAX (1U << 20)
#define REGION_BYTES_MAX (64ULL << 20)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static char *bulkhead_devnode(struct device *dev, umode_t *mode)
#else
static char *bulkhead_devnode(const struct device *dev, umode_t *mode)
#endif
{
	return kasprintf(GFP_KERNEL, "bulkhead/%s", dev_name(dev));
}

static struct class bulkhead_class = {
	.name = "bulkhead",
	.devnode = bulkhead_devnode,
};

static bool name_is_sound(const char *name)
{
	size_t length = strnlen(name, BULKHEAD_NAME_LEN);

	return length && length < BULKHEAD_NAME_LEN && strcmp(name, "control") &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

/* Maps the information region and finds its tables in it. */
static int map_info(struct platform_device *pdev, struct bulkhead *partition)
{
	struct device *dev = partition->dev;
	struct resource *res = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	u64 end;

	if (!res || !IS_ALIGNED(res->start, BULKHEAD_PAGE_BYTES) ||
	    resource_size(res) < 2 * BULKHEAD_PAGE_BYTES)
		return dev_err_probe(dev, -EINVAL,
				     "reg: expected whole pages, at least two, for the information region\n");
	partition->info_bytes = resource_size(res);
	/* The hypervisor maps it write-back; another attribute here could read stale words. */
	partition->info = devm_memremap(dev, res->start, partition->info_bytes, MEMREMAP_WB);
	if (IS_ERR(partition->info))
		return dev_err_probe(dev, PTR_ERR(partition->info), "cannot map %pR\n", res);
	if (bulkhead_info32(partition, BULKHEAD_INFO_ABI_VERSION) >> 16 !=
	    BULKHEAD_ABI_VERSION >> 16)
		return dev_err_probe(dev, -EPROTONOSUPPORT,
				     "information region at %pR has ABI version %#x, expected %#x: is reg right?\n",
				     res, bulkhead_info32(partition, BULKHEAD_INFO_ABI_VERSION),
				     BULKHEAD_ABI_VERSION);
	partition->port_count = bulkhead_info32(partition, BULKHEAD_INFO_PORT_COUNT);
	partition->authority_count = bulkhead_info32(partition, BULKHEAD_INFO_AUTHORITY_COUNT);
	end = BULKHEAD_INFO_PORTS + (u64)partition->port_count * BULKHEAD_INFO_PORT_STRIDE;
	end = ALIGN(end, BULKHEAD_INFO_AUTHORITIES_ALIGN);
	partition->authorities = end;
	/* Without entries the last page may be absent. */
	partition->partition_count = bulkhead_info32(partition, BULKHEAD_INFO_PARTITION_COUNT);
	end += ((u64)partition->authority_count + partition->partition_count) *
	       BULKHEAD_INFO_AUTHORITY_STRIDE;
	if (!partition->authority_count && !partition->partition_count)
		end = BULKHEAD_INFO_PORTS + (u64)partition->port_count * BULKHEAD_INFO_PORT_STRIDE;
	if (partition->port_count > BULKHEAD_PORT_COUNT_MAX || end > partition->info_bytes)
		return dev_err_probe(dev, -EINVAL,
				     "information region of %zu bytes cannot hold %u ports and %u authorities\n",
				     partition->info_bytes, partition->port_count,
				     partition->authority_count);
	if (!bulkhead_info32(partition, BULKHEAD_INFO_CNTFRQ_HZ))
		return dev_err_probe(dev, -EINVAL, "information region: counter frequency is 0\n");
	return 0;
}

/* Copies a port's entry out and checks it. */
static int read_entry(struct bulkhead_port *port)
{
	const struct bulkhead *partition = port->partition;
	size_t entry = BULKHEAD_INFO_PORTS + port->index * BULKHEAD_INFO_PORT_STRIDE;
	struct bh_port *protocol = &port->protocol;

	memcpy(port->name, (const u8 *)partition->info + entry + BULKHEAD_PORT_NAME,
	       sizeof(port->name));
	protocol->kind = bulkhead_info32(partition, entry + BULKHEAD_PORT_KIND);
	protocol->direction = bulkhead_info32(partition, entry + BULKHEAD_PORT_DIRECTION);
	protocol->message_bytes = bulkhead_info32(partition, entry + BULKHEAD_PORT_MESSAGE_BYTES);
	protocol->slots = bulkhead_info32(partition, entry + BULKHEAD_PORT_SLOTS);
	protocol->refresh_ns = bulkhead_info64(partition, entry + BULKHEAD_PORT_REFRESH_NS);
	protocol->clock_hz = bulkhead_info32(partition, BULKHEAD_INFO_CNTFRQ_HZ);
	protocol->own_epoch = bulkhead_info32(partition, BULKHEAD_INFO_START_COUNT);
	protocol->peer_epoch = (const u32 *)((const u8 *)partition->info +
					     BULKHEAD_INFO_PEER_EPOCHS) + port->index;
	port->peer_id = bulkhead_info32(partition, entry + BULKHEAD_PORT_PEER_ID);
	port->doorbell = bulkhead_info32(partition, entry + BULKHEAD_PORT_DOORBELL_INTID) !=
			 BULKHEAD_NO_DOORBELL;
	if (!name_is_sound(port->name))
		return dev_err_probe(partition->dev, -EINVAL, "port %u: unusable name\n",
				     port->index);
	if ((protocol->kind != BULKHEAD_KIND_SAMPLING && protocol->kind != BULKHEAD_KIND_QUEUING) ||
	    (protocol->direction != BULKHEAD_DIRECTION_SOURCE &&
	     protocol->direction != BULKHEAD_DIRECTION_DESTINATION) ||
	    !protocol->message_bytes || protocol->message_bytes > MESSAGE_BYTES_MAX ||
	    !protocol->slots || protocol->slots > REGION_BYTES_MAX ||
	    bh_region_bytes(protocol->kind, protocol->message_bytes, protocol->slots) >
		    REGION_BYTES_MAX)
		return dev_err_probe(partition->dev, -EINVAL,
				     "port %s: unusable entry: kind %u, direction %u, %u slots of %u bytes\n",
				     port->name, protocol->kind, protocol->direction,
				     protocol->slots, protocol->message_bytes);
	return 0;
}

/* Maps one region of a port; the word at @field of its entry is the address. */
static void *map_region(struct bulkhead_port *port, u32 field, u64 bytes)
{
	const struct bulkhead *partition = port->partition;
	size_t entry = BULKHEAD_INFO_PORTS + port->index * BULKHEAD_INFO_PORT_STRIDE;
	u64 address = bulkhead_info64(partition, entry + field);
	void *region = ERR_PTR(-EINVAL);

	if (address && IS_ALIGNED(address, BULKHEAD_PAGE_BYTES))
		region = devm_memremap(partition->dev, address,
				       ALIGN(bytes, BULKHEAD_PAGE_BYTES), MEMREMAP_WB);
	if (IS_ERR(region))
		dev_err(partition->dev, "port %s: cannot map its region at %#llx: %ld\n",
			port->name, address, PTR_ERR(region));
	return region;
}

static irqreturn_t doorbell(int irq, void *data)
{
	bulkhead_port_wake(data);
	return IRQ_HANDLED;
}

static int request_doorbell(struct platform_device *pdev, struct bulkhead_port *port)
{
	int irq;

	if (!port->doorbell || port->protocol.direction != BULKHEAD_DIRECTION_DESTINATION)
		return 0;
	irq = platform_get_irq_byname(pdev, port->name);
	if (irq < 0)
		return irq;
	return devm_request_irq(&pdev->dev, irq, doorbell, 0, port->name, port);
}

static int init_port(struct platform_device *pdev, struct bulkhead_port *port)
{
	struct bh_port *protocol = &port->protocol;
	int ret = read_entry(port);

	if (ret)
		return ret;
	protocol->writer = map_region(port, BULKHEAD_PORT_WRITER_IPA,
				      bh_region_bytes(protocol->kind, protocol->message_bytes,
						      protocol->slots));
	if (IS_ERR(protocol->writer))
		return PTR_ERR(protocol->writer);
	if (protocol->kind == BULKHEAD_KIND_QUEUING) {
		protocol->consumer = map_region(port, BULKHEAD_PORT_CONSUMER_IPA,
						BULKHEAD_PAGE_BYTES);
		if (IS_ERR(protocol->consumer))
			return PTR_ERR(protocol->consumer);
	}
	bh_port_start(protocol);
	ret = bulkhead_port_init(port);
	if (ret)
		return ret;
	return request_doorbell(pdev, port);
}

static void release_numbers(void *data)
{
	struct bulkhead *partition = data;

	unregister_chrdev_region(partition->devt, partition->port_count + 1);
}

static void release_cdev(void *data)
{
	cdev_del(data);
}

static int add_cdev(struct bulkhead *partition, struct cdev *cdev,
		    const struct file_operations *fops, u32 minor, u32 count)
{
	int ret;

	cdev_init(cdev, fops);
	cdev->owner = THIS_MODULE;
	ret = cdev_add(cdev, partition->devt + minor, count);
	if (ret)
		return ret;
	return devm_add_action_or_reset(partition->dev, release_cdev, cdev);
}

static void release_device(void *data)
{
	device_unregister(data);
}

static int create_device(struct bulkhead *partition, u32 minor, const char *name)
{
	struct device *dev = device_create(&bulkhead_class, partition->dev,
					   partition->devt + minor, NULL, "%s", name);

	if (IS_ERR(dev))
		return PTR_ERR(dev);
	return devm_add_action_or_reset(partition->dev, release_device, dev);
}

static int create_devices(struct bulkhead *partition)
{
	u32 count = partition->port_count;
	u32 i;
	int ret = alloc_chrdev_region(&partition->devt, BULKHEAD_CONTROL_MINOR, count + 1,
				      "bulkhead");

	if (ret)
		return ret;
	ret = devm_add_action_or_reset(partition->dev, release_numbers, partition);
	if (ret)
		return ret;
	ret = add_cdev(partition, &partition->control_cdev, &bulkhead_control_fops,
		       BULKHEAD_CONTROL_MINOR, 1);
	if (ret)
		return ret;
	if (count) {
		ret = add_cdev(partition, &partition->ports_cdev, &bulkhead_port_fops,
			       BULKHEAD_CONTROL_MINOR + 1, count);
		if (ret)
			return ret;
	}
	ret = create_device(partition, BULKHEAD_CONTROL_MINOR, "control");
	for (i = 0; !ret && i < count; i++)
		ret = create_device(partition, BULKHEAD_CONTROL_MINOR + 1 + i,
				    partition->ports[i].name);
	return ret;
}

static int bulkhead_probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct bulkhead *partition = devm_kzalloc(dev, sizeof(*partition), GFP_KERNEL);
	u32 i;
	int ret;

	if (!partition)
		return -ENOMEM;
	partition->dev = dev;
	ret = bulkhead_hypercall_discover(dev);
	if (ret)
		return ret;
	ret = map_info(pdev, partition);
	if (ret)
		return ret;
	partition->ports = devm_kcalloc(dev, max(partition->port_count, 1U),
					sizeof(*partition->ports), GFP_KERNEL);
	if (!partition->ports)
		return -ENOMEM;
	for (i = 0; i < partition->port_count; i++) {
		partition->ports[i].partition = partition;
		partition->ports[i].index = i;
		ret = init_port(pdev, &partition->ports[i]);
		if (ret)
			return ret;
	}
	ret = bulkhead_health_init(pdev, partition);
	if (ret)
		return ret;
	ret = create_devices(partition);
	if (ret)
		return dev_err_probe(dev, ret, "cannot create the character devices\n");
	dev_info(dev, "partition %.31s, start %u, %u ports, authority over %u\n",
		 (const char *)partition->info + BULKHEAD_INFO_NAME,
		 bulkhead_info32(partition, BULKHEAD_INFO_START_COUNT), partition->port_count,
		 partition->authority_count);
	return 0;
}

static const struct of_device_id bulkhead_of_match[] = {
	{ .compatible = "bulkhead,partition-v1" },
	{ }
};
MODULE_DEVICE_TABLE(of, bulkhead_of_match);

/*
 * Everything is device-managed. Open files hold the module, and unbinding by
 * hand is suppressed, so no file outlives what it uses.
 */
static struct platform_driver bulkhead_driver = {
	.probe = bulkhead_probe,
	.driver = {
		.name = "bulkhead",
		.of_match_table = bulkhead_of_match,
		.suppress_bind_attrs = true,
	},
};

static int __init bulkhead_init(void)
{
	int ret = class_register(&bulkhead_class);

	if (ret)
		return ret;
	ret = platform_driver_register(&bulkhead_driver);
	if (ret)
		class_unregister(&bulkhead_class);
	return ret;
}
module_init(bulkhead_init);

static void __exit bulkhead_exit(void)
{
	platform_driver_unregister(&bulkhead_driver);
	class_unregister(&bulkhead_class);
}
module_exit(bulkhead_exit);

MODULE_DESCRIPTION("Ports and control of a partition of the Bulkhead hypervisor");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
