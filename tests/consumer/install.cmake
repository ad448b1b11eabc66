# SPDX-License-Identifier: Apache-2.0
#
# Installs a build and moves the result to PREFIX, from where it must still work.
# Usage: cmake -D BUILD=<build folder> -D PREFIX=<folder> -P install.cmake
file(REMOVE_RECURSE ${PREFIX} ${PREFIX}.before)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX}.before
                        COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${PREFIX}.before ${PREFIX})
