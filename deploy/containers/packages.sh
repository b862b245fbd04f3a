#!/bin/sh
# Install a list of requirements from the wheels at hand into the environment, and lay what came with it under /added:
# an image takes the core as one layer, which all images share, and only its own packages as another.
#   add-packages core | ledger | web | ...
set -eu
touch /before
pip --python /opt/sopor/bin/python install --quiet --no-index --find-links /wheels --requirement "/requirements/$1.txt"
mkdir /added
cd /
find opt/sopor -cnewer /before ! -type d -exec cp --archive --parents --target-directory=/added {} +
