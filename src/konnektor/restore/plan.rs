//! What would have to be written so that the box is as the file says, and what stands against it. Pure.
//! Absent on purpose: a box. Everything was read before.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::certificates::{self, NoList};
use super::{ByHand, Certificates, Kind, LeftOut, NoPlan, Note, Options, Plan, Situation, Step};
use crate::konnektor::diff::{diff, plain, same};
use crate::konnektor::profile::Service;
use crate::konnektor::terminals::{terminals, terminals_of};
use crate::konnektor::{Error, Json, Part};
use crate::names::{HostPort, ServiceName};

/// Makes a plan; the same again gives what is left of it, for every step is a whole value.
///
/// # Errors
/// [`NoPlan`].
pub fn plan(on: &Situation<'_>, options: &Options) -> Result<Plan, NoPlan> {
    fits(on)?;
    named(on, options)?;
    let now: BTreeMap<&ServiceName, &Json> =
        on.now.services.iter().map(|read| (&read.service, &read.value)).collect();
    let mut plan = Plan::default();
    let mut unknown_way = None;
    for service in in_order(on) {
        if !options.services.is_empty() && !options.services.contains(&service.name) {
            continue;
        }
        match one(on, service, &now, options.certificates) {
            Found::Steps(steps) => plan.steps.extend(steps),
            Found::Same => plan.same.push(service.name.clone()),
            Found::LeftOut(why) => {
                if let LeftOut::NoWay(error) = &why {
                    unknown_way.get_or_insert_with(|| error.clone());
                }
                plan.left_out.push((service.name.clone(), why));
            }
        }
    }
    if let (true, Some(error)) = (plan.steps.is_empty(), unknown_way) {
        return Err(error.into());
    }
    plan.notes = notes(on);
    moving(on, &now, &mut plan)?;
    plan.by_hand = by_hand(on, &plan);
    Ok(plan)
}

/// The networks into which a box may move where its site says nothing: its /24, or /64.
#[must_use]
pub fn around(address: &HostPort) -> Vec<IpNet> {
    let Ok(ip) = address.host().parse::<IpAddr>() else { return Vec::new() };
    let bits = if ip.is_ipv4() { 24 } else { 64 };
    IpNet::new(ip, bits).map(|net| net.trunc()).into_iter().collect()
}

/// The box is of the file's make, and of a firmware that may be written to.
fn fits(on: &Situation<'_>) -> Result<(), NoPlan> {
    if let Some(about) = &on.given.about {
        let pairs = [(&about.vendor, &on.identity.vendor_id), (&about.product, &on.identity.product_name)];
        let other = pairs
            .into_iter()
            .find(|(file, now)| !file.is_empty() && !now.is_empty() && !file.eq_ignore_ascii_case(now));
        if let Some((file, now)) = other {
            return Err(NoPlan::OtherMake { file: plain(file, 80), konnektor: plain(now, 80) });
        }
    }
    if on.any_firmware || on.profile.knows_firmware(&on.identity.firmware) {
        Ok(())
    } else {
        Err(NoPlan::UnknownFirmware { firmware: plain(&on.identity.firmware, 40) })
    }
}

/// What was asked for by name is in the file and may be written.
fn named(on: &Situation<'_>, options: &Options) -> Result<(), NoPlan> {
    for service in &options.services {
        if on.profile.service(service).is_none() {
            return Err(Error::UnknownService { service: service.clone() }.into());
        }
        match on.profile.write_way(service) {
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if !on.given.services.contains_key(service) {
            return Err(NoPlan::NotInFile { service: service.clone() });
        }
    }
    Ok(())
}

/// Ascending; the service that holds the box's own address last, whatever its number says.
fn in_order<'a>(on: &Situation<'a>) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = on.profile.services().iter().collect();
    services.sort_by_key(|service| (holds_address(on, &service.name), service.order));
    services
}

fn holds_address(on: &Situation<'_>, service: &ServiceName) -> bool {
    on.profile.address.as_ref().is_some_and(|place| place.service == *service)
}

enum Found {
    Steps(Vec<Step>),
    Same,
    LeftOut(LeftOut),
}

fn one(
    on: &Situation<'_>,
    service: &Service,
    now: &BTreeMap<&ServiceName, &Json>,
    how: Certificates,
) -> Found {
    let name = &service.name;
    if on.profile.holds_users(name) {
        return Found::LeftOut(LeftOut::Users);
    }
    if !service.restore {
        return Found::LeftOut(LeftOut::ReadOnly);
    }
    let Some(file) = on.given.services.get(name) else { return Found::LeftOut(LeftOut::NotInFile) };
    if file.text() == "null" {
        return Found::LeftOut(LeftOut::Empty);
    }
    let Some(now) = now.get(name) else {
        let why = on.now.failed.iter().find(|(failed, _)| failed == name).map(|(_, error)| error.clone());
        return Found::LeftOut(LeftOut::NotRead(why));
    };
    let list = on.profile.certificates.as_ref().filter(|list| list.service == *name);
    let step = |kind: Kind, from: &Json, to: &Json| Step {
        service: name.clone(),
        kind,
        value: to.clone(),
        diff: diff(from, to, on.profile),
    };
    let steps = match list.map(|list| certificates::wanted(file, now, list, how)) {
        Some(Err(NoList)) => return Found::LeftOut(LeftOut::NoList),
        Some(Ok(wanted)) if !same(&wanted.whole, now, on.profile) => {
            let mut steps = Vec::new();
            let mut from = *now;
            if let Some(emptied) = &wanted.emptied {
                steps.push(step(Kind::DeleteCertificates, from, emptied));
                from = emptied;
            }
            if !same(&wanted.whole, from, on.profile) {
                steps.push(step(Kind::ImportCertificates, from, &wanted.whole));
            }
            steps
        }
        None if !same(file, now, on.profile) => vec![step(Kind::Write, now, file)],
        Some(Ok(_)) | None => return Found::Same,
    };
    match on.profile.write_way(name) {
        Ok(_) => Found::Steps(steps),
        Err(error) => Found::LeftOut(LeftOut::NoWay(error)),
    }
}

/// Where the box goes: followed if it is dialled where it says it is, and only into the site's networks.
fn moving(on: &Situation<'_>, now: &BTreeMap<&ServiceName, &Json>, plan: &mut Plan) -> Result<(), NoPlan> {
    let Some(place) = &on.profile.address else { return Ok(()) };
    let Some(step) = plan.steps.last_mut().filter(|step| step.service == place.service) else {
        return Ok(());
    };
    let to = step.value.at(&place.pointer).and_then(Part::word);
    let from = now.get(&place.service).and_then(|value| value.at(&place.pointer)).and_then(Part::word);
    let Some(to) = to.filter(|to| from.as_ref() != Some(to)) else { return Ok(()) };
    let shown = plain(&to, 64);
    if !from.is_some_and(|from| is_host(&from, on.address.host())) {
        plan.notes.push(Note::NotFollowed { to: shown });
        return Ok(());
    }
    let Ok(ip) = to.parse::<IpAddr>() else { return Err(NoPlan::BadAddress { address: shown }) };
    if !on.networks.iter().any(|network| network.contains(&ip)) {
        return Err(NoPlan::OutsideNetworks { address: shown });
    }
    let port = on.address.port();
    let text = if ip.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let address: HostPort = text.parse().map_err(|_| NoPlan::BadAddress { address: shown })?;
    step.kind = Kind::Move(address.clone());
    plan.moves_to = Some(address);
    Ok(())
}

fn is_host(address: &str, host: &str) -> bool {
    match (address.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        (Ok(address), Ok(host)) => address == host,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

fn notes(on: &Situation<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let given = on.given;
    if let Some((file, konnektor)) = serials(on).filter(|(file, konnektor)| file != konnektor) {
        notes.push(Note::Serial { file, konnektor });
    }
    match &given.about {
        None => notes.push(Note::NoHead),
        Some(about) => {
            if about.konnektor != on.konnektor.to_string() {
                notes.push(Note::OtherKonnektor { file: plain(&about.konnektor, 140) });
            }
            if about.firmware != on.identity.firmware {
                let (file, konnektor) = (plain(&about.firmware, 40), plain(&on.identity.firmware, 40));
                notes.push(Note::Firmware { file, konnektor });
            }
        }
    }
    if !given.changed.is_empty() {
        notes.push(Note::Edited(given.changed.clone()));
    }
    if !given.containers.is_empty() {
        notes.push(Note::Containers(given.containers.clone()));
    }
    if !given.unknown.is_empty() {
        notes.push(Note::Unknown(given.unknown.clone()));
    }
    notes
}

/// The file's serial number and the box's, where both are known.
fn serials(on: &Situation<'_>) -> Option<(String, String)> {
    let place = on.profile.serial.as_ref();
    let of = |value: Option<&Json>| {
        let word = value?.at(&place?.pointer)?.word()?;
        (!word.is_empty()).then(|| plain(&word, 64))
    };
    let head = on.given.about.as_ref().and_then(|about| about.serial.as_ref());
    let file = head.map(|serial| plain(serial, 64));
    let file = file.or_else(|| of(on.given.services.get(&place?.service)));
    let read = on.now.services.iter().find(|read| place.is_some_and(|place| place.service == read.service));
    let now = on.identity.serial.as_ref().map(|serial| plain(serial, 64));
    let now = now.or_else(|| of(read.map(|read| &read.value)));
    file.zip(now)
}

fn by_hand(on: &Situation<'_>, plan: &Plan) -> Vec<ByHand> {
    let mut by_hand = Vec::new();
    let pair = unpaired(on);
    if !pair.is_empty() {
        by_hand.push(ByHand::Pair(pair));
    }
    let mut reboot: Vec<ServiceName> = Vec::new();
    for step in &plan.steps {
        let needs = on.profile.service(&step.service).is_some_and(|service| service.needs_reboot);
        if needs && !reboot.contains(&step.service) {
            reboot.push(step.service.clone());
        }
    }
    if !reboot.is_empty() {
        by_hand.push(ByHand::Reboot(reboot));
    }
    for note in &plan.notes {
        if let Note::Firmware { file, konnektor } = note {
            by_hand.push(ByHand::Firmware { file: file.clone(), konnektor: konnektor.clone() });
        }
    }
    by_hand
}

/// The file's terminals that were paired when it was taken and are not now; their secrets are in no file.
fn unpaired(on: &Situation<'_>) -> Vec<String> {
    let Some(rules) = &on.profile.terminals else { return Vec::new() };
    let is_paired = |state: &str| rules.paired.iter().any(|paired| paired.eq_ignore_ascii_case(state));
    let file = terminals_of(on.profile, on.given).unwrap_or_default();
    let now = terminals(on.profile, on.now).unwrap_or_default();
    file.iter()
        .filter(|terminal| terminal.state.is_empty() || is_paired(&terminal.state))
        .filter(|terminal| !now.iter().any(|here| here.id == terminal.id && is_paired(&here.state)))
        .map(|terminal| plain(&terminal.id, 64))
        .collect()
}
