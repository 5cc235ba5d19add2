//! What a restore makes of a backup: images, and a template for a VM that has them.

use std::collections::HashMap;

use crate::opennebula::element::Element;
use crate::opennebula::template::{Quoted, Template, Vector};
use crate::opennebula::url::Url;

/// The template of an image that a disk is restored to.
pub fn image_template(name: &str, disk: &str, url: &Url) -> String {
    let kind = if disk == "0" { "OS" } else { "DATABLOCK" };
    let job = url.job.map_or_else(String::new, |job| format!("BACKUP_JOB_ID = \"{job}\""));
    format!(
        "NAME = {}\nTYPE = \"{kind}\"\n\nPATH = {}\nFROM_BACKUP_DS = \"{}\"\n{job}",
        Quoted(name),
        Quoted(&url.to_string()),
        url.datastore
    )
}

/// How a VM is restored.
#[derive(Clone, Debug, Default)]
pub struct VmRestore {
    /// The template's name.
    pub name: String,
    /// Whether interfaces get new addresses.
    pub no_ip: bool,
    /// Whether interfaces are left out.
    pub no_nic: bool,
    /// The images of its disks.
    pub images: HashMap<String, u64>,
}

// What OpenNebula adds to a VM's template when it makes the VM.
const OF_VM: [&str; 8] = [
    "AUTOMATIC_DS_REQUIREMENTS",
    "AUTOMATIC_NIC_REQUIREMENTS",
    "AUTOMATIC_REQUIREMENTS",
    "VMID",
    "TEMPLATE_ID",
    "TM_MAD_SYSTEM",
    "SECURITY_GROUP_RULE",
    "ERROR",
];
const OF_DISK: [&str; 23] = [
    "ALLOW_ORPHANS",
    "CLONE",
    "CLONE_TARGET",
    "CLUSTER_ID",
    "DATASTORE",
    "DATASTORE_ID",
    "DISK_SNAPSHOT_TOTAL_SIZE",
    "DISK_TYPE",
    "DRIVER",
    "IMAGE",
    "IMAGE_STATE",
    "IMAGE_UID",
    "IMAGE_UNAME",
    "LN_TARGET",
    "OPENNEBULA_MANAGED",
    "ORIGINAL_SIZE",
    "PERSISTENT",
    "READONLY",
    "SAVE",
    "SOURCE",
    "TARGET",
    "TM_MAD",
    "FORMAT",
];
const OF_NIC: [&str; 12] = [
    "AR_ID",
    "BRIDGE",
    "BRIDGE_TYPE",
    "CLUSTER_ID",
    "NAME",
    "NETWORK_ID",
    "NIC_ID",
    "TARGET",
    "VLAN_ID",
    "VN_MAD",
    "VLAN_TAGGED_ID",
    "PHYDEV",
];
const OF_PCI: [&str; 13] = [
    "ADDRESS",
    "BUS",
    "DOMAIN",
    "FUNCTION",
    "NUMA_NODE",
    "PCI_ID",
    "SLOT",
    "VM_ADDRESS",
    "VM_BUS",
    "VM_DOMAIN",
    "VM_FUNCTION",
    "VM_SLOT",
    "SHORT_ADDRESS",
];
const ADDRESSES: [&str; 5] = ["IP", "IP6", "IP6_ULA", "IP6_GLOBAL", "MAC"];

impl VmRestore {
    /// The template for a VM like the one that was backed up, and the disks of that one which are not in it
    /// since the backup has none of them.
    pub fn template(&self, vm: Element<'_>) -> (Template, Vec<String>) {
        let part = |name| vm.child(name).map(Template::parse).unwrap_or_default();
        let mut template = part("TEMPLATE");
        template.merge(part("USER_TEMPLATE"));
        template.remove(&OF_VM);
        for (name, made) in
            [("GRAPHICS", &["PORT"][..]), ("NUMA_NODE", &["CPUS", "MEMORY_NODE_ID", "NODE_ID"])]
        {
            template.vectors(name).for_each(|vector| vector.remove(made));
        }
        template.vectors("OS").for_each(|os| os.remove(&["UUID"]));
        let is_made =
            |name: &str| name == "DISK_ID" || name.contains("ETH") || name.contains("PCI");
        template.vectors("CONTEXT").for_each(|context| context.retain(|name| !is_made(name)));
        for device in template.vectors("PCI") {
            device.remove(&OF_PCI);
            self.forget_network(device);
        }
        if self.no_nic {
            template.remove(&["NIC"]);
        }
        for nic in template.vectors("NIC") {
            self.forget_network(nic);
            if nic.text("IP").is_some() {
                nic.remove(&["MAC", "IP6", "IP6_ULA", "IP6_GLOBAL"]);
            } else if nic.text("IP6").is_some() {
                nic.remove(&["MAC"]);
            }
        }
        let mut missing = Vec::new();
        template.retain_vectors("DISK", |disk| match self.attach(disk) {
            Ok(()) => true,
            Err(id) => {
                missing.push(id);
                false
            }
        });
        template.set("NAME", &self.name);
        (template, missing)
    }

    fn forget_network(&self, interface: &mut Vector) {
        interface.remove(&OF_NIC);
        if self.no_ip {
            interface.remove(&ADDRESSES);
        }
    }

    /// Gives a disk its new image. A volatile disk that is not in the backup is made anew, and a CD keeps
    /// its image. What is left is a disk that the backup lacks.
    fn attach(&self, disk: &mut Vector) -> Result<(), String> {
        disk.remove(&OF_DISK);
        let Some(id) = disk.text("DISK_ID").map(str::to_owned) else { return Ok(()) };
        let kind = disk.text("TYPE").unwrap_or_default().to_uppercase();
        let image = self.images.get(&id);
        disk.remove(&["DISK_ID"]);
        if matches!(&*kind, "FS" | "SWAP") {
            disk.remove(&["IMAGE_ID"]);
            if image.is_none() {
                return Ok(());
            }
        }
        disk.remove(&["TYPE", "SIZE"]);
        match image {
            _ if matches!(&*kind, "CDROM" | "RBD_CDROM") => Ok(()),
            Some(image) => {
                disk.set("IMAGE_ID", image.to_string());
                Ok(())
            }
            None => Err(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opennebula::element;

    fn restored(inner: &str, restore: &VmRestore) -> (String, Vec<String>) {
        let text = format!("<VM><ID>3</ID>{inner}</VM>");
        let document = element::parse(&text).unwrap();
        let (template, missing) = restore.template(Element::top(&document));
        (template.to_string().replace("\n    ", "").replace("\n]", "]"), missing)
    }

    fn restore(images: &[(&str, u64)]) -> VmRestore {
        let images = images.iter().map(|&(disk, image)| (disk.to_owned(), image)).collect();
        VmRestore { name: "x".into(), images, ..VmRestore::default() }
    }

    #[test]
    fn an_image_says_where_its_disk_is() {
        let url = Url::parse("restic://102/7/0:66c01fd7/v/0/backup/disk.1.0").unwrap();
        assert_eq!(
            image_template("a\"b", "1", &url),
            "NAME = \"a\\\"b\"\nTYPE = \"DATABLOCK\"\n\nPATH = \"restic://102/7/0:66c01fd7/v/0/backup/\
             disk.1.0\"\nFROM_BACKUP_DS = \"102\"\nBACKUP_JOB_ID = \"7\""
        );
        let url = Url { job: None, ..url };
        assert!(image_template("a", "0", &url).contains("TYPE = \"OS\"\n"));
        assert!(image_template("a", "0", &url).ends_with("FROM_BACKUP_DS = \"102\"\n"));
    }

    #[test]
    fn disks_get_their_new_images() {
        let disk = |id, kind, more| {
            format!(
                "<DISK><DISK_ID>{id}</DISK_ID><SIZE>9</SIZE><TARGET>vda</TARGET><TYPE>{kind}</TYPE>{more}</DISK>"
            )
        };
        let image = "<IMAGE_ID>4</IMAGE_ID><ORDER>1</ORDER>";
        let disks = [
            disk(0, "FILE", image),
            disk(1, "fs", ""),
            disk(2, "fs", ""),
            disk(3, "swap", ""),
            disk(4, "CDROM", image),
            disk(5, "FILE", image),
        ];
        let inner = format!("<TEMPLATE>{}</TEMPLATE>", disks.concat());
        let (template, missing) = restored(&inner, &restore(&[("0", 18), ("1", 19)]));
        assert_eq!(
            template,
            "DISK=[IMAGE_ID=\"18\",ORDER=\"1\"]\nDISK=[IMAGE_ID=\"19\"]\n\
             DISK=[SIZE=\"9\",TYPE=\"fs\"]\nDISK=[SIZE=\"9\",TYPE=\"swap\"]\n\
             DISK=[IMAGE_ID=\"4\",ORDER=\"1\"]\nNAME= \"x\"\n"
        );
        assert_eq!(missing, ["5"]);
    }

    #[test]
    fn what_belongs_to_the_old_vm_is_left_out() {
        let inner = "<TEMPLATE><VMID>3</VMID><OS><UUID>u</UUID><BOOT>d</BOOT></OS>\
            <GRAPHICS><PORT>5900</PORT><TYPE>VNC</TYPE></GRAPHICS>\
            <CONTEXT><ETH0_IP>1</ETH0_IP><PCI1_MAC>2</PCI1_MAC><MY_ETH>3</MY_ETH><NETWORK>YES</NETWORK></CONTEXT>\
            <NUMA_NODE><CPUS>1</CPUS></NUMA_NODE><PCI><BUS>1</BUS><CLASS>c</CLASS><NIC_ID>1</NIC_ID></PCI>\
            </TEMPLATE><USER_TEMPLATE><ERROR>e</ERROR><OS><BOOT>user</BOOT></OS><K>v</K></USER_TEMPLATE>";
        let (template, _) = restored(inner, &restore(&[]));
        assert_eq!(
            template,
            "OS=[BOOT=\"user\"]\nGRAPHICS=[TYPE=\"VNC\"]\nCONTEXT=[NETWORK=\"YES\"]\n\
             PCI=[CLASS=\"c\"]\nK= \"v\"\nNAME= \"x\"\n"
        );
    }

    #[test]
    fn interfaces_keep_one_address_or_none() {
        let nic = |inner| format!("<NIC><BRIDGE>b</BRIDGE><NETWORK>n</NETWORK>{inner}</NIC>");
        let both = nic("<IP>1</IP><IP6>6</IP6><MAC>m</MAC>");
        let six = nic("<IP6>6</IP6><IP6_ULA>u</IP6_ULA><MAC>m</MAC>");
        let inner = format!("<TEMPLATE>{both}{six}{}</TEMPLATE>", nic("<MAC>m</MAC>"));
        let with = |change: fn(&mut VmRestore)| {
            let mut restore = restore(&[]);
            change(&mut restore);
            restored(&inner, &restore).0
        };
        assert_eq!(
            with(|_| ()),
            "NIC=[NETWORK=\"n\",IP=\"1\"]\nNIC=[NETWORK=\"n\",IP6=\"6\",IP6_ULA=\"u\"]\n\
             NIC=[NETWORK=\"n\",MAC=\"m\"]\nNAME= \"x\"\n"
        );
        let bare = "NIC=[NETWORK=\"n\"]\n".repeat(3);
        assert_eq!(with(|restore| restore.no_ip = true), format!("{bare}NAME= \"x\"\n"));
        assert_eq!(with(|restore| restore.no_nic = true), "NAME= \"x\"\n");
    }
}
