/*
 * Cuts out the subject of a picture from an Android app, on a network that may break off.
 *
 * Only classes that Android has (java.net, java.io), so it needs no dependency and also runs on a JVM:
 *
 *     kotlinc Upload.kt -include-runtime -d upload.jar
 *     java -jar upload.jar http://127.0.0.1:8000 photo.jpg photo-cutout.png
 *
 * In an app, call cutOut in a coroutine on Dispatchers.IO or in a WorkManager job, and keep the key with the job:
 * a job that is started again then gets the same result, and the picture is processed once.
 */

import java.io.File
import java.io.IOException
import java.net.HttpURLConnection
import java.net.URL
import java.util.UUID

const val ATTEMPTS = 5
const val SLICE_BYTES = 16 * 1024

class Refused(message: String) : Exception(message)

/** Returns the cutout as PNG; [progress] gets the share of the picture that is sent, 0 to 1. */
fun cutOut(server: String, picture: ByteArray, key: String, progress: (Double) -> Unit): ByteArray {
    for (attempt in 1..ATTEMPTS) {
        var waitSeconds = 1L shl attempt
        try {
            val connection = send(server, picture, key, progress)
            if (connection.responseCode == 200) return connection.inputStream.use { it.readBytes() }
            val problem = connection.errorStream?.use { it.readBytes().toString(Charsets.UTF_8) } ?: ""
            val retryAfter = connection.getHeaderField("Retry-After")?.toLongOrNull()
            if (retryAfter == null || attempt == ATTEMPTS) throw Refused(problem)
            waitSeconds = retryAfter
        } catch (error: IOException) {  // no network, a timeout, a connection that broke off
            if (attempt == ATTEMPTS) throw error
        }
        Thread.sleep(waitSeconds * 1000)
    }
    throw IllegalStateException("not reached")
}

private fun send(server: String, picture: ByteArray, key: String, progress: (Double) -> Unit): HttpURLConnection {
    val connection = URL("$server/v1/cutout").openConnection() as HttpURLConnection
    connection.requestMethod = "POST"
    connection.connectTimeout = 10_000
    connection.readTimeout = 90_000
    connection.doOutput = true
    connection.setFixedLengthStreamingMode(picture.size)  // sends while it writes, so that progress is real
    connection.setRequestProperty("Content-Type", "application/octet-stream")
    connection.setRequestProperty("Idempotency-Key", key)
    connection.outputStream.use { output ->
        for (start in picture.indices step SLICE_BYTES) {
            output.write(picture, start, minOf(SLICE_BYTES, picture.size - start))
            progress(minOf(start + SLICE_BYTES, picture.size).toDouble() / picture.size)
        }
    }
    return connection
}

fun main(arguments: Array<String>) {
    val (server, picture, target) = arguments
    val key = UUID.randomUUID().toString()
    val cutout = cutOut(server, File(picture).readBytes(), key) { share -> println("sent ${(share * 100).toInt()} %") }
    File(target).writeBytes(cutout)
}
