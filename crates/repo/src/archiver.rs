//! Backup: files and folders into packs, trees and a snapshot.
