#!/bin/sh
# Tells OpenNebula's downloader how to read a disk of a backup. The name is OpenNebula's; Ruby is not needed.
exec "${0%/*}/restic/restic" datastore restic_downloader "$@"
